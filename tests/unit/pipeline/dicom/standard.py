"""What `dciodvfy` of dicom3tools has against an instance."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from pydicom.dataset import Dataset


def problems(dataset: Dataset) -> list[str]:
    """Its errors; warnings are its author's taste. Skips where the program is missing."""
    program = shutil.which("dciodvfy")
    if program is None:
        if os.environ.get("CI") == "true":
            raise FileNotFoundError("dciodvfy, of the package dicom3tools")
        pytest.skip("dciodvfy is not installed")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "instance.dcm"
        dataset.save_as(file)
        run = subprocess.run([program, "-new", str(file)], capture_output=True, text=True)
    lines = (run.stdout + run.stderr).splitlines()
    assert lines, "it says at least what kind of object it saw"
    return [line for line in lines if line.startswith("Error")]
