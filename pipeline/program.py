"""How a process of the pipeline that is no Celery worker begins and ends."""

import sys
from collections.abc import Callable

from pipeline import log
from pipeline.context import Context
from pipeline.settings import settings


def run_as_program(serve: Callable[[Context], None], *cannot: type[Exception]) -> int:
    """Set up logging, serve with the process's own settings; returns the exit code.

    An error of the types `cannot` says in its own words why it can't serve, and ends in code 1.
    """
    log.set_up(as_json=settings().log_json)
    try:
        serve(Context.open(settings()))
    except cannot as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
