"""Studies whose results can be told: jobs that are closed, all images of the study ended."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Engine, and_, or_, select

from pipeline.records import results
from pipeline.records.results import ImageView
from pipeline.tables import images, jobs, stage_runs

PAGE = 200
"""Images that one look for studies goes back."""
_BEHIND_ALL = "g"
"""Behind every id, since ids are hexadecimal."""


@dataclass(frozen=True, slots=True)
class Told:
    """The images of one study in one job, by id; all of them have a run."""

    job_id: str
    views: tuple[ImageView, ...]


def keys(engine: Engine) -> Iterator[str]:
    """Study Instance UIDs, and ids of single images, that models answered; the latest first.

    Goes back only as far as it is asked. Whether all images of a study have ended is not asked
    here: `of_study` tells nothing of one that has not.
    """
    before, seen = _BEHIND_ALL, set[str]()
    while found := _answered(engine, before):
        for image_id, study_uid in found:
            if study_uid is None:
                yield image_id
            elif study_uid not in seen:
                seen.add(study_uid)
                yield study_uid
        before = found[-1][0]


def _answered(engine: Engine, before: str) -> list[tuple[str, str | None]]:
    # From the runs, whose key begins with the image: images without any cost nothing.
    ran = select(stage_runs.c.image_id).where(stage_runs.c.image_id < before).distinct()
    ran = ran.order_by(stage_runs.c.image_id.desc()).limit(PAGE)
    query = select(images.c.id, images.c.study_instance_uid).where(images.c.id.in_(ran))
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(images.c.id.desc()))
        return [(image_id, study_uid) for image_id, study_uid in rows]


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
