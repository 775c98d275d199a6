"""Senders that others wrote: dcmtk and Orthanc bring us studies."""

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pydicom
import pytest

from pipeline.context import Context
from tests.integration.test_orthanc import Orthanc
from tests.stand_in.dicom_arrivals import all_jobs, original, stored
from tests.stand_in.dicom_peer import STUDY, Listener, file_of, radiograph, run

pytestmark = pytest.mark.peers

pytest_plugins = ("tests.integration.listening",)

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"


def need(*programs: str) -> None:
    """Skip where one is not installed; on CI that is a failure."""
    missing = [program for program in programs if shutil.which(program, path=PATH) is None]
    if missing and os.environ.get("CI") == "true":
        raise FileNotFoundError(", ".join(missing))
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def test_dcmtk_verifies_and_stores(listener: Listener, context: Context, tmp_path: Path) -> None:
    need("storescu", "echoscu")
    where = ["-aec", "XRAYTRIAGE", "127.0.0.1", str(listener.port)]
    echo = run("echoscu", *where)
    assert echo.returncode == 0, echo.stderr
    files = []
    for number in (1, 2):
        files.append(tmp_path / f"{number}.dcm")
        files[-1].write_bytes(file_of(radiograph(number)))
    result = run("storescu", *where, *map(str, files))
    assert result.returncode == 0, result.stderr
    assert {row["once_key"] for row in stored(context)} == {f"{STUDY}.1.1", f"{STUDY}.1.2"}
    assert all_jobs(context)[0]["peer"] == "STORESCU"
    wrong = run("echoscu", "-aec", "OTHER", "127.0.0.1", str(listener.port))
    assert wrong.returncode != 0


def test_orthanc_sends_a_study(listener: Listener, context: Context, tmp_path: Path) -> None:
    need("Orthanc")
    folder = tmp_path / "orthanc"
    folder.mkdir()
    orthanc = Orthanc(folder)
    orthanc.start()
    try:
        us = {"AET": "XRAYTRIAGE", "Host": "127.0.0.1", "Port": listener.port}
        ask(orthanc, "PUT", "/modalities/xraytriage", json.dumps(us).encode())
        ids = [
            ask(orthanc, "POST", "/instances", file_of(radiograph(number)))["ID"]
            for number in (1, 2)
        ]
        assert ask(orthanc, "POST", "/modalities/xraytriage/echo", b"{}") == {}
        sent = ask(orthanc, "POST", "/modalities/xraytriage/store", json.dumps(ids).encode())
    finally:
        orthanc.kill()
    assert (sent["InstancesCount"], sent["FailedInstancesCount"]) == (2, 0)
    (job,) = all_jobs(context)
    assert (job["study_instance_uid"], job["peer"]) == (STUDY, "ORTHANC")
    for row, number in zip(stored(context), (1, 2), strict=True):
        read = pydicom.dcmread(io.BytesIO(original(context, row)))
        assert read.PixelData == radiograph(number).PixelData


def ask(orthanc: Orthanc, method: str, path: str, data: bytes) -> Any:
    """An answer of Orthanc's REST API."""
    address = f"http://127.0.0.1:{orthanc.http}{path}"
    with urlopen(Request(address, data, method=method), timeout=30) as answer:
        return json.loads(answer.read() or "{}")
