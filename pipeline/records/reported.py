"""Studies whose results can be told: jobs that are closed, all images of the study ended."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Engine, and_, case, exists, func, or_, select

from pipeline.records import results
from pipeline.records.results import ImageView
from pipeline.tables import images, jobs, stage_runs

_KEY = func.coalesce(images.c.study_instance_uid, images.c.id)
_ENDED = func.sum(case((images.c.stage.is_not(None), 1), else_=0)) == 0
_ANSWERED = func.sum(case((exists().where(stage_runs.c.image_id == images.c.id), 1), else_=0)) > 0


@dataclass(frozen=True, slots=True)
class Told:
    """The images of one study in one job, by id; all of them have a run."""

    job_id: str
    views: tuple[ImageView, ...]


def keys(engine: Engine, limit: int, offset: int = 0) -> list[str]:
    """Studies with results, the latest first: Study Instance UIDs, and ids of single images.

    Counts all images: what a search without a study costs.
    """
    unit = (
        select(_KEY.label("key"), func.max(images.c.id).label("last"))
        .join_from(images, jobs)
        .where(jobs.c.closed_at.is_not(None))
        .group_by(images.c.job_id, _KEY)
        .having(and_(_ENDED, _ANSWERED))
        .subquery()
    )
    query = select(unit.c.key).group_by(unit.c.key).order_by(func.max(unit.c.last).desc())
    with engine.connect() as connection:
        return list(connection.execute(query.limit(limit).offset(offset)).scalars())


def of_study(
    engine: Engine, study_uid: str, image_ids: tuple[str, str] | None = None
) -> list[Told]:
    """The images of a study, one entry a job in order of arrival.

    `image_ids` is the first and last id of the one image that may be this study by itself.
    """
    among: ColumnElement[bool] = images.c.study_instance_uid == study_uid
    if image_ids is not None:
        among = or_(among, images.c.id.between(*image_ids))
    return _told(engine, among)


def of_job(engine: Engine, job_id: str) -> list[Told]:
    """The images of a job; of several studies, if it has several."""
    return _told(engine, images.c.job_id == job_id)


def beside(engine: Engine, view: ImageView) -> list[Told]:
    """An image with the others of its study in its job."""
    study_uid = view.row["study_instance_uid"]
    if study_uid is None:
        return _told(engine, images.c.id == view.row["id"])
    return _told(
        engine,
        and_(images.c.job_id == view.row["job_id"], images.c.study_instance_uid == study_uid),
    )


def _told(engine: Engine, among: ColumnElement[bool]) -> list[Told]:
    query = (
        select(images)
        .join_from(images, jobs)
        .where(among, jobs.c.closed_at.is_not(None))
        .order_by(images.c.id)
    )
    with engine.connect() as connection:
        views = results.views(connection, connection.execute(query).mappings().all())
    units: dict[tuple[str, str], list[ImageView]] = defaultdict(list)
    for view in views:
        row = view.row
        units[row["job_id"], row["study_instance_uid"] or row["id"]].append(view)
    return [
        Told(job_id, answered)
        for (job_id, _), found in units.items()
        if _have_ended(found) and (answered := tuple(view for view in found if view.runs))
    ]


def _have_ended(views: Sequence[ImageView]) -> bool:
    return all(view.row["stage"] is None for view in views)
