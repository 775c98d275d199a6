"""Whose image it is leaves the sandbox sealed, or not at all."""

import json
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select, update

from pipeline import db, identity
from pipeline.context import Context
from pipeline.flow import Step
from pipeline.ingest import Source
from pipeline.records import claims, identities
from pipeline.settings import Settings
from pipeline.states import State
from pipeline.studies import take
from pipeline.tables import images
from tests.stand_in.dicom_peer import STUDY, file_of, radiograph
from tests.unit.pipeline.api.memory import Broker, Store, opened_context
from workers.prepare import Prepare
from workers.runner import run_chunk

PERSONAL = {
    "PatientName": "Zzyzx^Müller",
    "PatientID": "PID-777",
    "PatientBirthDate": "19650403",
    "PatientSex": "F",
    "AccessionNumber": "ACC-888",
    "StudyDate": "20250102",
    "StudyTime": "101500",
    "StudyID": "STUDY-9",
    "ReferringPhysicianName": "Zzyzx^Doctor",
}


def personal_file() -> bytes:
    return file_of(radiograph(1, SpecificCharacterSet="ISO_IR 192", **PERSONAL))


@pytest.fixture
def store() -> Store:
    return Store()


def context_with(tmp_path: Path, store: Store, **settings: str) -> Context:
    return opened_context(
        Settings.model_validate({"data_dir": tmp_path, "disk_watermark_bytes": 0, **settings}),
        store,
        Broker(),
    )


@pytest.fixture
def key() -> str:
    return Fernet.generate_key().decode()


@pytest.fixture
def keeping(tmp_path: Path, store: Store, key: str) -> Iterator[Context]:
    context = context_with(tmp_path, store, identifiers="encrypt", identifiers_key=key)
    yield context
    context.engine.dispose()


@pytest.fixture
def dropping(tmp_path: Path, store: Store) -> Iterator[Context]:
    context = context_with(tmp_path, store)
    yield context
    context.engine.dispose()


def prepared(context: Context, data: bytes) -> str:
    """The id of an image that was taken in and prepared."""
    accepted = take(context, STUDY, "ROOM1", Source("x.dcm", lambda: BytesIO(data))).accepted
    assert accepted is not None
    assert run_chunk(context, Prepare(context), [accepted.image_id], None) == 1
    return accepted.image_id


def test_by_default_nothing_personal_is_kept(dropping: Context) -> None:
    image_id = prepared(dropping, personal_file())
    assert identities.identity_of(dropping.engine, [image_id]) == {}
    with dropping.engine.connect() as connection:
        row = connection.execute(select(images)).mappings().one()
    kept = json.dumps(dict(row))
    assert row["header"]["study_instance_uid"] == STUDY
    assert not [value for value in PERSONAL.values() if len(value) > 1 and value in kept]


def test_where_asked_for_it_is_kept_sealed(keeping: Context, key: str) -> None:
    image_id = prepared(keeping, personal_file())
    sealed = identities.identity_of(keeping.engine, [image_id, "0" * 32])
    assert set(sealed) == {image_id}
    assert identity.unseal(sealed[image_id], key) == PERSONAL
    assert not [v for v in PERSONAL.values() if len(v) > 1 and v.encode() in sealed[image_id]]


def test_an_image_that_is_prepared_again_keeps_one_identity(keeping: Context, key: str) -> None:
    image_id = prepared(keeping, file_of(radiograph(1, **PERSONAL | {"PatientName": "A"})))
    again = update(images).values(stage="prepare", state="received", lease_until=None)
    db.write(keeping.engine, lambda connection: connection.execute(again))
    assert run_chunk(keeping, Prepare(keeping), [image_id], None) == 1
    sealed = identities.identity_of(keeping.engine, [image_id])
    assert identity.unseal(sealed[image_id], key)["PatientName"] == "A"


def test_what_has_no_header_and_what_is_refused_has_no_identity(keeping: Context) -> None:
    no_image = radiograph(2, Modality="CT", **PERSONAL)
    image_id = prepared(keeping, file_of(no_image))
    assert identities.identity_of(keeping.engine, [image_id]) == {}


def test_a_claim_that_was_taken_over_writes_no_identity(keeping: Context) -> None:
    data = file_of(radiograph(3, **PERSONAL | {"PatientName": "A"}))
    accepted = take(keeping, STUDY, "ROOM1", Source("x.dcm", lambda: BytesIO(data))).accepted
    assert accepted is not None
    (held,) = claims.claim(keeping.engine, "prepare", [accepted.image_id], 60.0, "old", 3)
    late = claims.Outcome(
        replace(held, token=held.token - 1), Step(State.PREPARED, "gate"), sealed=b"sealed"
    )
    claims.complete(keeping.engine, "prepare", [late], 32, 60.0)
    assert identities.identity_of(keeping.engine, [accepted.image_id]) == {}
