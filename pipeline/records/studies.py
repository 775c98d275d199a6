"""Jobs made of studies: opened by the first instance of one, closed when it has been quiet."""

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.db import now_s, read, write
from pipeline.states import Priority
from pipeline.tables import images, jobs
from pipeline.uid import new_id


class JobClosed(Exception):  # noqa: N818 - named for what happened
    """The study went quiet and its job was closed: what comes now belongs to a new one."""


@dataclass(frozen=True, slots=True)
class Held:
    """An instance that a job of the study has already."""

    image_id: str
    sha256: str | None


def open_study(engine: Engine, study_uid: str, peer: str, source: str, priority: Priority) -> str:
    """The id of the open job of a study and its sender; made where there is none.

    However many ask at the same time, all get the same one.
    """
    ours = (
        select(jobs.c.id)
        .where(jobs.c.study_instance_uid == study_uid, jobs.c.peer == peer)
        .where(jobs.c.closed_at.is_(None))
    )
    found: str | None = read(engine, lambda connection: connection.execute(ours).scalar())
    while found is None:
        found = write(
            engine,
            lambda connection: (
                _made(connection, study_uid, peer, source, priority)
                or connection.execute(ours).scalar()
            ),
        )
    return found


def touch(connection: Connection, job_id: str) -> None:
    """Say, in the caller's transaction, that an instance has come. Raises JobClosed.

    The row stays locked until the caller commits: a job can't be closed between this and the
    rows that its instance adds.
    """
    query = (
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.closed_at.is_(None))
        .values(last_arrival_at=now_s())
    )
    if connection.execute(query).rowcount == 0:
        raise JobClosed


def held(engine: Engine, job_id: str, once_key: str) -> Held | None:
    """The instance that the job took in under this key, if any."""
    query = select(images.c.id, images.c.sha256).where(
        images.c.job_id == job_id, images.c.once_key == once_key
    )
    row = read(engine, lambda connection: connection.execute(query).first())
    return None if row is None else Held(*row)


def close_quiet(engine: Engine, quiet_s: float) -> list[str]:
    """Close the jobs of studies whose last instance came `quiet_s` seconds ago; their ids."""
    due = (
        jobs.c.closed_at.is_(None),
        jobs.c.study_instance_uid.is_not(None),
        jobs.c.last_arrival_at < now_s() - quiet_s,
    )
    # Looked for first, by reading only: most of the time there is nothing to write.
    query = select(jobs.c.id).where(*due)
    ids = read(engine, lambda connection: connection.execute(query).scalars().all())
    if not ids:
        return []
    # The condition is asked again: an instance may have come since.
    change = update(jobs).where(jobs.c.id.in_(ids), *due).values(closed_at=now_s())
    return write(
        engine,
        lambda connection: list(connection.execute(change.returning(jobs.c.id)).scalars()),
    )


def _made(
    connection: Connection, study_uid: str, peer: str, source: str, priority: Priority
) -> str | None:
    # None where somebody else's insert came first: the index allows one open job only.
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    query = dialect.insert(jobs).values(
        id=new_id(),
        source=source,
        priority=priority,
        created_at=now_s(),
        study_instance_uid=study_uid,
        peer=peer,
        last_arrival_at=now_s(),
    )
    return connection.execute(query.on_conflict_do_nothing().returning(jobs.c.id)).scalar()
