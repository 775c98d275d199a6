"""`python -m workers STAGE …`: start a Celery worker for one stage, or for several model stages.

`prepare` decodes untrusted bytes and therefore has a process of its own, with sandboxed children.
`reconcile` is no Celery worker: it sends again what is overdue.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from celery import Celery
from celery.signals import setup_logging, worker_process_shutdown, worker_ready

from models.catalogue import find, load_catalogue, operating_points, read_cards
from models.errors import ModelError
from pipeline import foreseen, log, metrics, tracing
from pipeline.context import Context
from pipeline.dispatch import queue_of
from pipeline.flow import PREPARE
from pipeline.pulse import Pulse
from pipeline.settings import Device, Settings, SettingsError, settings
from workers.app import Handler, be_worker, make_worker_app
from workers.children import Children
from workers.runner import Work, run_chunk

RECONCILE = "reconcile"
THREADS = 2
"""Chunks in hand at a time in a model worker: while one is computed, another is loaded."""
TALKATIVE = ("celery.worker.strategy", "celery.app.trace")
"""Say twice of each chunk what our own line about it says once."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        log.set_up(as_json=settings().log_json)
        setup_logging.connect(_keep_our_logging)
        for logger in map(logging.getLogger, TALKATIVE):
            logger.setLevel(logging.WARNING)
        return _start(_given(settings(), arguments), arguments)
    except (ModelError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _given(config: Settings, arguments: argparse.Namespace) -> Settings:
    """The settings of the environment, with what the command line says in their place."""
    device: Device | None = arguments.device
    return config if device is None else config.model_copy(update={"device": device})


def _start(config: Settings, arguments: argparse.Namespace) -> int:
    stages: list[str] = arguments.stage
    metrics.serve(config)
    foreseen.anywhere()
    if stages == [RECONCILE]:
        from workers.reconcile import run

        foreseen.scans()
        run(Context.open(config))
        return 0
    pulse = Pulse(config, "-".join(stages))
    # The first mark says that it has started; in a pool of children they make their own.
    worker_ready.connect(lambda **_: pulse.move(), weak=False)
    if stages == [PREPARE]:
        app, children = _prepare_app(config)
        code = be_worker(app, _command(config, arguments, "prefork", os.cpu_count() or 1))
        return 1 if children.failed else code
    if PREPARE in stages or RECONCILE in stages:
        _parser().error("prepare and reconcile each need a process of their own")
    app = _model_app(config, stages, pulse)
    return be_worker(app, _command(config, arguments, "threads", THREADS))


def _command(
    config: Settings, arguments: argparse.Namespace, pool: str, concurrency: int
) -> list[str]:
    stages: list[str] = arguments.stage
    return [
        *(["--quiet"] if config.log_json else []),  # no banner among the JSON lines
        "worker",
        f"--pool={pool}",
        f"--concurrency={arguments.concurrency or concurrency}",
        f"--queues={','.join(map(queue_of, stages))}",
        f"--hostname={'-'.join(stages)}{arguments.suffix}@%h",
        "--without-gossip",
        "--without-mingle",
        "--loglevel=INFO",
    ]


def _prepare_app(config: Settings) -> tuple[Celery, Children]:
    from workers.prepare import Prepare, confine
    from workers.relay import Relay

    relay = Relay() if config.metrics_port else None
    if relay is not None:
        foreseen.stage(PREPARE)
        relay.listen()

    # Everything that holds a connection or a limit is made in the child, after the fork.
    def begin() -> Handler:
        confine(config)
        if relay is not None:
            metrics.redirect(relay.tell)
        tracing.set_up(config, PREPARE)
        context = Context.open(config)
        return _handler(context, Prepare(context), Pulse(config, PREPARE))

    worker_process_shutdown.connect(lambda **_: tracing.shut_down(), weak=False)
    children = Children(begin)
    return make_worker_app(config, [(PREPARE, children.handle)]), children


def _model_app(config: Settings, stages: Sequence[str], pulse: Pulse) -> Celery:
    from models.stage import load
    from workers.expectation import expected_scores, expected_shares
    from workers.gpu import GpuMemory
    from workers.infer import Infer

    catalogue = load_catalogue(config.catalogue)
    specs = [find(stage, catalogue) for stage in stages]
    points = operating_points(config.operating_point, read_cards(catalogue))
    tracing.set_up(config, "-".join(stages))
    context = Context.open(config)
    handlers = []
    metrics.REGISTRY.register(GpuMemory())
    for spec in specs:
        model = load(
            spec,
            device=config.device.value,
            operating_point=points[spec.name],
            threads=config.model_threads or None,
        )
        labels = model.card.answers or model.card.label_names
        foreseen.stage(spec.name, labels, spec.refuses.values())
        metrics.model(spec.name, model.card.model_version, model.runtime, model.operating_point)
        shares = expected_shares(model.card, model.operating_point)
        metrics.expected(spec.name, shares, expected_scores(model.card))
        handlers.append((spec.name, _handler(context, Infer(context, spec, model), pulse)))
    return make_worker_app(config, handlers)


def _handler(context: Context, work: Work, pulse: Pulse) -> Handler:
    def handle(ids: list[str], root_id: str | None) -> int:
        with pulse.chunk(), log.bound(stage=work.stage, root_id=root_id):
            return run_chunk(context, work, ids, root_id, pulse.move)

    return handle


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
    parser.add_argument(
        "--device", type=Device, choices=list(Device), help="instead of XRAYTRIAGE_DEVICE"
    )
    parser.add_argument("--suffix", default="", help="makes names unique on one host, as in -2")
    return parser


if __name__ == "__main__":
    sys.exit(main())
