"""Become another program that dies with the process that started it.

Run as a file by the interpreter without site packages, in about 20 ms:

    python -I -S launch.py PARENT_PID PROGRAM ARGUMENT…

The kernel ends the program when the *thread* that started it ends, so whoever starts programs
this way must outlive them. `preexec_fn` would do without this file, but is unsafe with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; survives exec


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent ends; exit now when that has happened."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:  # Linux; elsewhere the next start removes what is left
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is wanted
