"""`python -m workers STAGE …`: start a Celery worker for one stage, or for several model stages.

`prepare` decodes untrusted bytes and therefore has a process of its own, with sandboxed children.
`reconcile` is no Celery worker: it sends again what is overdue.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial

from celery import Celery
from celery.signals import setup_logging, worker_process_init

from models.catalogue import find, load_catalogue
from models.errors import ModelError
from pipeline import log
from pipeline.context import Context
from pipeline.dispatch import queue_of
from pipeline.flow import PREPARE
from pipeline.settings import Settings, settings
from workers.app import Handler, make_worker_app
from workers.runner import Work, run_chunk

RECONCILE = "reconcile"
THREADS = 2
"""Chunks in hand at a time in a model worker: while one is computed, another is loaded."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; returns the exit code."""
    arguments = _parser().parse_args(argv)
    log.set_up(as_json=settings().log_json)
    setup_logging.connect(_keep_our_logging)
    try:
        return _start(settings(), arguments)
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _start(config: Settings, arguments: argparse.Namespace) -> int:
    stages: list[str] = arguments.stage
    if stages == [RECONCILE]:
        from workers.reconcile import run

        run(Context.open(config))
        return 0
    queues = ",".join(queue_of(stage) for stage in stages)
    if stages == [PREPARE]:
        app, pool, concurrency = _prepare_app(config), "prefork", os.cpu_count() or 1
    elif PREPARE in stages or RECONCILE in stages:
        _parser().error("prepare and reconcile each need a process of their own")
    else:
        app, pool, concurrency = _model_app(config, stages), "threads", THREADS
    app.worker_main(
        [
            "worker",
            f"--pool={pool}",
            f"--concurrency={arguments.concurrency or concurrency}",
            f"--queues={queues}",
            f"--hostname={'-'.join(stages)}{arguments.suffix}@%h",
            "--without-gossip",
            "--without-mingle",
            "--loglevel=INFO",
        ]
    )
    return 0


def _prepare_app(config: Settings) -> Celery:
    from workers.prepare import Prepare, confine

    # Everything that holds a connection or a limit is made in the child, after the fork.
    made: list[Handler] = []

    def begin(**_: object) -> None:
        confine(config)
        context = Context.open(config)
        made.append(_handler(context, Prepare(context)))

    worker_process_init.connect(begin, weak=False)

    def handle(ids: list[str], root_id: str | None) -> int:
        return made[0](ids, root_id)

    return make_worker_app(config, [(PREPARE, handle)])


def _model_app(config: Settings, stages: Sequence[str]) -> Celery:
    from models.stage import load
    from workers.infer import Infer

    catalogue = load_catalogue(config.catalogue)
    specs = [find(stage, catalogue) for stage in stages]
    context = Context.open(config)
    handlers = []
    for spec in specs:
        model = load(
            spec,
            device=config.device.value,
            operating_point=config.operating_point,
            threads=config.model_threads or None,
        )
        handlers.append((spec.name, _handler(context, Infer(context, spec, model))))
    return make_worker_app(config, handlers)


def _handler(context: Context, work: Work) -> Handler:
    return partial(run_chunk, context, work)


def _keep_our_logging(**_: object) -> None:
    """Celery configures logging unless somebody listens to this signal."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workers",
        description=__doc__,
        epilog="examples:  python -m workers prepare    python -m workers gate type chest",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stage", nargs="+", help="prepare, reconcile, or stages of the catalogue")
    parser.add_argument("--concurrency", type=int, help="children (prepare) or chunks in hand")
    parser.add_argument("--suffix", default="", help="makes names unique on one host, as in -2")
    return parser


if __name__ == "__main__":
    sys.exit(main())
