"""What must hold of study jobs however many listeners work at once, on any database."""

import io
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from sqlalchemy import func, select

from pipeline.context import Context
from pipeline.ingest import Source
from pipeline.records import studies
from pipeline.states import Priority
from pipeline.studies import take
from pipeline.tables import images, jobs
from tests.stand_in.dicom_peer import STUDY, file_of, radiograph

TOGETHER = 8


def source_of(number: int) -> Source:
    """An instance as the doors bring it."""
    dataset = radiograph(number)
    data = file_of(dataset)
    return Source(f"{number}.dcm", lambda: io.BytesIO(data), str(dataset.SOPInstanceUID))


def all_get_the_same_job(context: Context) -> None:
    """Many open the job of one study at the same moment."""
    barrier = Barrier(TOGETHER)

    def opened(_: int) -> str:
        barrier.wait()
        return studies.open_study(context.engine, "2.25.1", "ROOM1", "dicom", Priority.ROUTINE)

    with ThreadPoolExecutor(TOGETHER) as threads:
        assert len(set(threads.map(opened, range(TOGETHER)))) == 1


def the_same_instance_is_stored_once(context: Context) -> None:
    """Many send the same instance at the same moment: each is answered, one is stored."""
    barrier = Barrier(TOGETHER)
    source = source_of(1)

    def taken(_: int) -> bool:
        barrier.wait()
        return take(context, STUDY, "ROOM2", source).accepted is not None

    with ThreadPoolExecutor(TOGETHER) as threads:
        assert sum(threads.map(taken, range(TOGETHER))) == 1
    assert _count(context, "ROOM2") == 1


def none_comes_into_a_closed_job(context: Context) -> None:
    """Instances come while somebody closes the study all the time: no closed job grows."""
    sources = [source_of(number) for number in range(24)]
    grown = []
    with ThreadPoolExecutor(4) as threads:
        taking = [threads.submit(take, context, STUDY, "ROOM3", source) for source in sources]
        while not all(future.done() for future in taking):
            for job_id in studies.close_quiet(context.engine, 0.0):
                grown.append((job_id, _in_job(context, job_id)))
    assert all(future.result().accepted is not None for future in taking)
    assert _count(context, "ROOM3") == len(sources)
    for job_id, count in grown:
        assert _in_job(context, job_id) == count


def _count(context: Context, peer: str) -> int:
    query = select(func.count()).select_from(images).join(jobs).where(jobs.c.peer == peer)
    with context.engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def _in_job(context: Context, job_id: str) -> int:
    query = select(func.count()).select_from(images).where(images.c.job_id == job_id)
    with context.engine.connect() as connection:
        return int(connection.execute(query).scalar_one())
