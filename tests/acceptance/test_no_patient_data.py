"""Instances full of patient data come through every door: nothing of it is left where none may be.

The originals in the object storage hold what the hospital sent, byte for byte; whoever may read
those may read the names in them. Nothing else may: not the logs, the database, the broker, the
object keys, the prepared images, the API, the pages, the metrics or the files of a run. Where the
setting `identifiers` is `encrypt`, the table `identity` has them sealed, and results as DICOM
carry them, which is what the setting is for.

A file's own name is what its user called it: shown to users, but in no log and no message.
"""

import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import select

from pipeline.context import Context
from pipeline.embedded import Stack
from pipeline.embedded.part import environment
from pipeline.identity import unseal
from pipeline.records.identities import identity_of
from pipeline.settings import Settings
from pipeline.states import TERMINAL, State
from pipeline.storage import ObjectRef
from pipeline.tables import images, outbox
from tests.acceptance.conftest import until
from tests.acceptance.search import (
    FILE_NAME,
    NAME,
    SECRETS,
    broker_bytes,
    dirty_files,
    dirty_tables,
    found_in,
)
from tests.stand_in.dicom_peer import Listener, file_of, radiograph, send

COMMAND = str(Path(sys.executable).with_name("xraytriage"))
ROOT = Path(__file__).parents[2]
# Text where a code belongs is meant.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR CS")

WORKERS = (
    ["-m", "workers", "prepare"],
    ["-m", "tests.stand_in.worker", "gate", "type", "chest"],
    ["-m", "workers", "reconcile"],
)


def personal(number: int, study: str, **elements: Any) -> Dataset:
    """A radiograph with patient data in every place that has room for them."""
    inner = Dataset()
    inner.PatientName, inner.PatientID = f"{NAME}^Inner", "PID7770001"
    dataset = radiograph(
        number,
        study,
        SpecificCharacterSet="ISO_IR 100",
        PatientName=f"{NAME}^Jörg",
        PatientID="PID7770001",
        OtherPatientIDsSequence=[inner],
        PatientBirthDate="19370211",
        PatientSex="F",
        PatientAddress=f"{NAME} street 1",
        PatientTelephoneNumbers="5550199",
        PatientComments=f"about {NAME}",
        AccessionNumber="ACC8880002",
        StudyID="STID9990003",
        StudyDate="20250102",
        StudyTime="101500",
        StudyDescription=f"{NAME} knee",
        SeriesDescription=f"{NAME} series",
        ReferringPhysicianName=f"{NAME}^Doctor",
        OperatorsName=f"{NAME}^Operator",
        InstitutionName=f"{NAME} hospital",
        ImageComments=f"{NAME} moved",
        ProtocolName=f"{NAME} protocol",
        ViewPosition=f"{NAME} lat.",
        BodyPartExamined="CHEST",
        **elements,
    )
    block = dataset.private_block(0x0011, f"{NAME} MAKER", create=True)
    block.add_new(1, "LO", f"{NAME} PID7770001")
    return dataset


def damaged(number: int, study: str) -> bytes:
    """A file whose pixels end too early."""
    return file_of(personal(number, study))[:-1000]


@dataclass(frozen=True)
class Site:
    """A stack and what was sent to it."""

    stack: Stack
    context: Context
    folder: Path
    api: httpx.Client
    key: str | None
    workers: list["subprocess.Popen[bytes]"]

    def send_all(self) -> None:
        """Through every door: good instances, refused ones and damaged ones."""
        self._upload()
        self._stow()
        self._c_store()

    def _upload(self) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(f"{FILE_NAME}.dcm", file_of(personal(2, "2.25.101")))
        sent = [
            ("files", (f"{FILE_NAME}.dcm", file_of(personal(1, "2.25.101")))),
            ("files", ("ward.zip", packed.getvalue())),
            ("files", ("damaged.dcm", damaged(3, "2.25.101"))),
            ("files", ("ct.dcm", file_of(personal(4, "2.25.101", Modality="CT")))),
            ("files", (f"{FILE_NAME}.txt", f"a letter about {NAME}".encode())),
        ]
        assert self.api.post("/v1/jobs", files=sent).status_code == 202
        # A body that breaks its format and a wrong field, for the words of the problems.
        wrong = {"files": (f"{FILE_NAME}.txt", NAME.encode())}
        assert self.api.post("/v1/jobs", files=wrong).status_code == 422

    def _stow(self) -> None:
        head = b"--x\r\nContent-Type: application/dicom\r\n\r\n"
        no_study = personal(7, "2.25.102", StudyInstanceUID="")
        parts = (file_of(personal(5, "2.25.102")), damaged(6, "2.25.102"), file_of(no_study))
        body = b"".join(head + part + b"\r\n" for part in parts) + b"--x--\r\n"
        kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}
        answer = self.api.post("/dicom-web/studies", content=body, headers=kind)
        assert answer.status_code == 202
        assert not found_in(answer.content)

    def _c_store(self) -> None:
        listener = Listener(self.folder / "unused", self.stack.settings)
        listener.port = self.stack.settings.dicom_port or 0
        no_study = personal(9, "2.25.103", StudyInstanceUID="")
        sent = (personal(8, "2.25.103"), no_study)
        assert send(listener, *sent, syntaxes=[ExplicitVRLittleEndian]) == [0, 0xC000]

    def screen(self) -> Path:
        """The files of a run of the command line; what it printed lies beside them."""
        inbox, out = self.folder / "inbox", self.folder / "out"
        inbox.mkdir()
        (inbox / "a.dcm").write_bytes(file_of(personal(10, "2.25.104")))
        (inbox / "b.dcm").write_bytes(damaged(11, "2.25.104"))
        run = subprocess.run(
            [COMMAND, "screen", str(inbox), "--out", str(out)],
            cwd=ROOT,
            env=environment(self.stack.settings),
            capture_output=True,
            timeout=240,
        )
        assert run.returncode == 0, run.stderr
        (out / "printed.txt").write_bytes(run.stdout + run.stderr)
        return out

    def ended(self) -> bool:
        with self.context.engine.connect() as connection:
            states = connection.execute(select(images.c.state)).scalars().all()
        return bool(states) and all(State(state) in TERMINAL for state in states)

    def start_workers(self) -> None:
        for number, command in enumerate(WORKERS):
            with (self.folder / f"worker-{number}.log").open("ab") as log:
                self.workers.append(
                    subprocess.Popen(
                        [sys.executable, *command],
                        cwd=ROOT,
                        env=environment(self.stack.settings),
                        stdout=log,
                        stderr=log,
                    )
                )


@pytest.fixture(params=["drop", "encrypt"])
def site(
    request: pytest.FixtureRequest, tmp_path: Path, database_url: str | None
) -> Iterator[Site]:
    """Servers, API and listener; workers are started by the test."""
    key = Fernet.generate_key().decode() if request.param == "encrypt" else None
    settings = Settings(
        data_dir=tmp_path / "state",
        database_url=database_url,
        identifiers=request.param,
        identifiers_key=key,
        dicom_port=0,
        dicom_quiet_s=1.0,
        scan_s=1.0,
    )
    workers: list[subprocess.Popen[bytes]] = []
    with Stack(settings, workers=False, flower=False) as stack:
        with httpx.Client(base_url=stack.addresses["api"], timeout=60.0) as api:
            yield Site(stack, Context.open(stack.settings), tmp_path, api, key, workers)
        for process in workers:
            process.send_signal(signal.SIGTERM)
        for process in workers:
            process.wait(60)


def answers(site: Site) -> Iterator[tuple[str, bytes]]:
    """Everything that the API says of what is there, results as DICOM aside."""
    with site.context.engine.connect() as connection:
        rows = connection.execute(select(images.c.id, images.c.job_id)).all()
    addresses = {f"/v1/jobs/{row.job_id}{tail}" for row in rows for tail in ("", "/results")}
    addresses |= {f"/v1/jobs/{row.job_id}/results?format=csv" for row in rows}
    addresses |= {f"/jobs/{row.job_id}" for row in rows}
    addresses |= {f"{head}/images/{row.id}" for row in rows for head in ("", "/v1")}
    addresses |= {"/", "/metrics", "/readyz", "/v1/stages"}
    for address in sorted(addresses):
        page = site.api.get(address, headers={"Accept": "text/html, */*"})
        yield address, page.content + repr(page.headers).encode()


def test_no_patient_data_where_none_may_be(site: Site) -> None:
    site.send_all()
    waiting = broker_bytes(site.stack.settings.broker_url or "")
    assert b"stage.prepare" in waiting, "messages wait in the broker"
    assert found_in(waiting, (*SECRETS, FILE_NAME)) == []

    site.start_workers()
    until(site.ended, "every image ends")
    out = site.screen()
    until(site.ended, "the images of the run end")
    with site.context.engine.connect() as connection:
        until(lambda: not connection.execute(select(outbox)).all(), "the outbox is empty")

    _check_storage(site)
    assert dirty_tables(site.context.engine) == {}
    _check_identities(site)
    assert dirty_files(out, SECRETS) == {}
    assert [(address, found) for address, page in answers(site) if (found := found_in(page))] == []
    after = broker_bytes(site.stack.settings.broker_url or "")
    assert found_in(after, (*SECRETS, FILE_NAME)) == []
    # Database with its journal, broker's files, logs: all state but the storage's own.
    assert dirty_files(site.folder / "state", SECRETS, "s3") == {}
    logs = (*site.folder.glob("worker-*.log"), *(site.folder / "state" / "logs").iterdir())
    assert any(b"c-store" in log.read_bytes() for log in logs), "the listener logs what it does"
    for log in logs:
        assert found_in(log.read_bytes(), (*SECRETS, FILE_NAME)) == [], log.name
    _check_dicom_out(site)


def _check_storage(site: Site) -> None:
    """Keys say nothing, what we make of an image says nothing; an original is what was sent."""
    store = site.context.store
    assert found_in("\n".join(store.keys()).encode(), (*SECRETS, FILE_NAME)) == []
    with site.context.engine.connect() as connection:
        rows = connection.execute(select(images)).mappings().all()
    assert {State.DONE, State.REJECTED} <= {State(row["state"]) for row in rows}
    done = [row for row in rows if row["state"] == State.DONE]
    assert len(done) >= 4, "uploaded, in a zip, by STOW, by C-STORE, by the command line"
    for row in done:
        assert found_in(store.get(ObjectRef.parse(row["prepared"]))) == []
        assert NAME in found_in(store.get(ObjectRef.parse(row["original"])))


def _check_identities(site: Site) -> None:
    with site.context.engine.connect() as connection:
        rows = connection.execute(select(images.c.id, images.c.prepared)).all()
    sealed = identity_of(site.context.engine, [row.id for row in rows])
    if site.key is None:
        assert sealed == {}
        return
    assert set(sealed) == {row.id for row in rows if row.prepared is not None}
    for blob in sealed.values():
        identity = unseal(blob, site.key)
        assert identity["PatientName"] == f"{NAME}^Jörg"
        assert identity["AccessionNumber"] == "ACC8880002"


def _check_dicom_out(site: Site) -> None:
    """Results as DICOM name the patient only where the setting asks for it."""
    until(
        lambda: site.api.get("/dicom-web/studies/2.25.103").status_code == 200,
        "the study's results are there",
    )
    kept = found_in(site.api.get("/dicom-web/studies/2.25.103").content)
    assert kept == ([] if site.key is None else [NAME, *SECRETS[1:5]])


def test_the_search_itself_finds() -> None:
    """Guards the tests above: what they look for is what would be seen."""
    assert found_in(file_of(personal(1, "2.25.1"))) == list(SECRETS)
    assert found_in(repr({"name": f"{NAME}^x"}).encode()) == [NAME]
    assert os.sep not in "".join(SECRETS)
