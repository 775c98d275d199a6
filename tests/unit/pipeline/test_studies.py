"""Studies become jobs: one open job of each and its sender, whatever happens at the same time."""

import io
from dataclasses import replace
from typing import cast

import pytest
from sqlalchemy import Engine, select, update

from models.catalogue import STAGES
from pipeline import db, studies
from pipeline.context import Context
from pipeline.dispatch import Dispatcher
from pipeline.ingest import Source
from pipeline.records import intake
from pipeline.records import studies as records
from pipeline.settings import Settings
from pipeline.states import Priority
from pipeline.storage import ObjectStore, StorageUnavailable
from pipeline.studies import take
from pipeline.tables import images, jobs
from tests.stand_in import study_races
from tests.stand_in.dicom_peer import STUDY, file_of, radiograph
from tests.unit.pipeline.api.memory import Broker, Store


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def context(config: Settings, engine: Engine, store: Store) -> Context:
    settings = config.model_copy(update={"disk_watermark_bytes": 0})
    return Context(settings, engine, cast(ObjectStore, store), cast(Dispatcher, Broker()), STAGES)


def source(number: int = 1) -> Source:
    return study_races.source_of(number)


def age(context: Context, seconds: float) -> None:
    """As if that time had passed since the last arrivals."""
    change = update(jobs).values(last_arrival_at=jobs.c.last_arrival_at - seconds)
    db.write(context.engine, lambda connection: connection.execute(change))


def closed(context: Context) -> list[bool]:
    query = select(jobs.c.closed_at).order_by(jobs.c.id)
    with context.engine.connect() as connection:
        return [at is not None for at in connection.execute(query).scalars()]


def test_instances_of_a_study_share_a_job(context: Context) -> None:
    first, second = (take(context, STUDY, "ROOM1", source(number)) for number in (1, 2))
    assert first.job_id == second.job_id
    assert first.accepted is not None
    assert second.accepted is not None
    assert take(context, STUDY, "ROOM2", source(1)).job_id != first.job_id
    assert take(context, "2.25.2", "ROOM1", source(1)).job_id != first.job_id


def test_the_same_instance_again_is_there_already(context: Context) -> None:
    assert take(context, STUDY, "ROOM1", source()).accepted is not None
    assert take(context, STUDY, "ROOM1", source()).accepted is None


def test_other_bytes_under_the_same_uid_are_kept_once_each(context: Context) -> None:
    changed = file_of(radiograph(2, SOPInstanceUID=radiograph(1).SOPInstanceUID))
    other = replace(source(1), open=lambda: io.BytesIO(changed))
    taken = [take(context, STUDY, "ROOM1", s).accepted for s in (source(1), other, other)]
    assert [accepted is not None for accepted in taken] == [True, True, False]


def test_a_study_is_closed_when_it_was_quiet_for_long_enough(context: Context) -> None:
    take(context, STUDY, "ROOM1", source())
    assert studies.close_quiet(context.engine, 30.0) == []
    age(context, 29.0)
    assert studies.close_quiet(context.engine, 30.0) == []
    age(context, 2.0)
    assert len(studies.close_quiet(context.engine, 30.0)) == 1
    assert studies.close_quiet(context.engine, 30.0) == []
    assert closed(context) == [True]


def test_every_arrival_keeps_it_open(context: Context) -> None:
    for number in (1, 2, 2):
        take(context, STUDY, "ROOM1", source(number))
        age(context, 20.0)
        assert studies.close_quiet(context.engine, 30.0) == []


def test_what_comes_after_the_close_goes_into_a_new_job(context: Context) -> None:
    first = take(context, STUDY, "ROOM1", source(1))
    age(context, 60.0)
    studies.close_quiet(context.engine, 30.0)
    second = take(context, STUDY, "ROOM1", source(1))
    assert second.job_id != first.job_id
    assert second.accepted is not None
    assert closed(context) == [True, False]


def test_a_job_that_closes_while_bytes_are_stored_is_left_alone(
    context: Context, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store.put_pack

    def slow(prefix: str, blobs: list[bytes]) -> object:
        age(context, 60.0)
        studies.close_quiet(context.engine, 30.0)
        monkeypatch.setattr(store, "put_pack", real)
        return real(prefix, blobs)

    monkeypatch.setattr(store, "put_pack", slow)
    taken = take(context, STUDY, "ROOM1", source())
    assert taken.accepted is not None
    assert closed(context) == [True, False]
    with context.engine.connect() as connection:
        assert connection.execute(select(images.c.job_id)).scalar_one() == taken.job_id


def test_jobs_that_are_of_no_study_are_never_closed_so(context: Context) -> None:
    intake.open_job(context.engine, "api", Priority.ROUTINE)
    assert studies.close_quiet(context.engine, -1.0) == []
    assert closed(context) == [False]


def test_a_storage_that_fails_leaves_no_image(context: Context, store: Store) -> None:
    store.broken = StorageUnavailable("gone")
    with pytest.raises(StorageUnavailable):
        take(context, STUDY, "ROOM1", source())
    with context.engine.connect() as connection:
        assert connection.execute(select(images)).all() == []


def test_touching_a_closed_job_says_so(context: Context) -> None:
    job_id = take(context, STUDY, "ROOM1", source()).job_id
    intake.close_job(context.engine, job_id)
    with pytest.raises(records.JobClosed), context.engine.begin() as connection:
        records.touch(connection, job_id)


def test_many_at_once(context: Context) -> None:
    study_races.all_get_the_same_job(context)
    study_races.the_same_instance_is_stored_once(context)
    study_races.none_comes_into_a_closed_job(context)
