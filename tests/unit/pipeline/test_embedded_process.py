"""Children, what Linux says of them, and what they leave in logs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.embedded import procfs
from pipeline.embedded.process import Child, last_lines
from tests.faults.servers import wait_until

FOR_EVER = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


@pytest.fixture
def child(tmp_path: Path) -> Child:
    return Child(FOR_EVER, {"PATH": ""}, tmp_path, tmp_path / "logs" / "it.log")


def test_a_child_leads_a_session_of_its_own(child: Child) -> None:
    assert child.exit_code is None
    assert child.started == procfs.started_at(child.pid)
    assert list(procfs.session_members(child.pid)) == [child.pid]
    child.kill()
    assert child.exit_code is not None
    assert procfs.started_at(child.pid) is None


def test_a_child_ends_with_its_parent_however_that_ends(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from pipeline.embedded.process import Child
child = Child({FOR_EVER!r}, {{}}, Path("."), Path({str(tmp_path / "log")!r}))
print(child.pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.stdout.close()
    assert procfs.started_at(pid) is not None
    parent.kill()
    parent.wait()
    wait_until(lambda: procfs.started_at(pid) is None, "the child ended, too")


def test_a_program_that_is_missing_says_so_in_its_log(tmp_path: Path) -> None:
    log = tmp_path / "it.log"
    child = Child(["/no/such/program"], {}, tmp_path, log)
    wait_until(lambda: child.exit_code is not None, "it ended")
    assert "No such file" in last_lines(log)


def test_a_log_is_cut_while_its_child_writes(tmp_path: Path) -> None:
    log = tmp_path / "it.log"
    lines = "import time\nfor i in range(3000): print(i, flush=True)\ntime.sleep(600)"
    child = Child([sys.executable, "-S", "-c", lines], {}, tmp_path, log)
    wait_until(lambda: last_lines(log).endswith("2999"), "all is written")
    child.trim_log(limit=1000)
    assert log.stat().st_size == 0
    kept = (tmp_path / "it.log.1").read_text()
    assert len(kept) == 1000
    assert kept.endswith("2999\n")
    child.trim_log(limit=1000)
    child.kill()
    assert (tmp_path / "it.log.1").read_text() == kept


def test_the_last_lines_of_a_log_that_is_not_there(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "none.log") == ""


def test_a_process_name_may_hold_anything() -> None:
    # The name stands in brackets in /proc/<pid>/stat and may hold blanks and brackets itself.
    code = """
import ctypes, time
ctypes.CDLL(None).prctl(15, b") S 1 (x", 0, 0, 0)
print(flush=True)
time.sleep(600)
"""
    renamed = subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, start_new_session=True
    )
    assert renamed.stdout is not None
    renamed.stdout.readline()
    renamed.stdout.close()
    assert list(procfs.session_members(renamed.pid)) == [renamed.pid]
    assert procfs.kill_session(renamed.pid) >= 1
    assert renamed.wait() < 0
