"""The one-machine stack: real servers and our own programs as children of one process."""

from pipeline.embedded.crew import StackError
from pipeline.embedded.foreground import interrupting, say_running, up
from pipeline.embedded.record import connect
from pipeline.embedded.servers import MissingServerError
from pipeline.embedded.stack import AlreadyRunning, Stack

__all__ = [
    "AlreadyRunning",
    "MissingServerError",
    "Stack",
    "StackError",
    "connect",
    "interrupting",
    "say_running",
    "up",
]
