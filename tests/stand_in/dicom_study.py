"""Finished images that came as DICOM: the facts of their headers, and runs with their rules."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom.uid import DigitalXRayImageStorageForPresentation
from sqlalchemy import update

from pipeline.context import Context
from pipeline.records.intake import close_job, open_job
from pipeline.settings import Settings
from pipeline.states import Priority
from pipeline.tables import jobs
from tests.stand_in.finished import CHEST_SCORES, FinishedJob
from tests.unit.pipeline.api.memory import Broker, Store, opened_context

STUDY = "1.2.826.0.1.3680043.8.498.1"
RULES = {
    "abnormal": {"threshold": 0.5},
    "Effusion": {"threshold": 0.5},
    "Hernia": {"threshold": 0.5, "experimental": True},
    "Mass": {"threshold": 0.31, "experimental": True},
}


def header(number: int, study: str = STUDY, **facts: Any) -> dict[str, Any]:
    """The kept facts of the `number`th image of a study."""
    return {
        "study_instance_uid": study,
        "series_instance_uid": f"{study}.1",
        "sop_instance_uid": f"{study}.1.{number}",
        "sop_class_uid": str(DigitalXRayImageStorageForPresentation),
        "modality": "DX",
        "body_part_examined": "CHEST",
        "patient_orientation": "L\\F",
    } | facts


def chest(job: FinishedJob, number: int, study: str = STUDY, **columns: Any) -> str:
    """A chest radiograph of a study, abnormal, with two sound findings and an experimental one."""
    facts = {"header": header(number, study), "format": "DICOM"}
    image_id = job.chest(f"{number}.dcm", 0.0, **facts | columns)
    job.run(
        image_id,
        "chest",
        None,
        CHEST_SCORES,
        model_version="chest-1.1.0+00000000",
        created_at=4.0,
        rules=RULES,
    )
    for label, more in {"abnormal": {}, "Effusion": {}, "Hernia": {"experimental": True}}.items():
        version = {"model_version": "chest-1.1.0+00000000"}
        job.find(image_id, label, max(0.6, CHEST_SCORES[label]), **version, **more)
    return image_id


@contextmanager
def opened(folder: Path, database_url: str | None = None) -> Iterator[Context]:
    """A database (a file, if none is named) and a storage in memory; there is no destination."""
    settings = Settings(data_dir=folder, database_url=database_url, dicom_send_timeout_s=5.0)
    context = opened_context(settings, Store(), Broker())
    yield context
    context.engine.dispose()


def study(context: Context, uid: str = STUDY, *, closed: bool = True, first: int = 1) -> str:
    """A job of a study of one abnormal chest, whose id counts on from `first`; the job's id."""
    job_id = open_job(context.engine, "dicom", Priority.ROUTINE)
    with context.engine.begin() as connection:
        of_study = update(jobs).where(jobs.c.id == job_id)
        connection.execute(of_study.values(study_instance_uid=uid, peer="MODALITY"))
    chest(FinishedJob(context.engine, context.store, job_id, count=first), 1, study=uid)  # type: ignore[arg-type]
    if closed:
        close_job(context.engine, job_id)
    return job_id
