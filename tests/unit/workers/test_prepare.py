"""The sandbox of the decoding child: time and memory end, the parent lives."""

import os
import signal
from collections.abc import Callable

import pytest

from pipeline.settings import Settings
from workers.prepare import confine, timed


def in_child(work: Callable[[], None]) -> int:
    """Wait status of a forked child that did `work`; it exits with 3 if that raised MemoryError."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except MemoryError:
            os._exit(3)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def test_a_block_that_loops_ends_the_process_by_sigalrm() -> None:
    def loop() -> None:
        with timed(0.2):
            while True:
                pass

    status = in_child(loop)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGALRM


def test_the_alarm_is_off_after_the_block() -> None:
    def quick() -> None:
        with timed(60.0):
            pass
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

    assert in_child(quick) == 0


@pytest.mark.parametrize(("mebibytes", "ended"), [(16, 0), (1024, 3)])
def test_memory_beyond_the_allowance_is_refused(mebibytes: int, ended: int) -> None:
    settings = Settings(prepare_memory_bytes=2**28)

    def allocate() -> None:
        confine(settings)
        bytearray(mebibytes * 2**20)

    assert os.waitstatus_to_exitcode(in_child(allocate)) == ended
