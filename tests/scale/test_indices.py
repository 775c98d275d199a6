"""After a million images no page, request, scan or scrape reads a table from end to end.

The calls themselves are made, and what they send is explained by the database: PostgreSQL with
the statistics that it keeps, SQLite with none, as both are in earnest.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import Engine

from pipeline import db
from pipeline.flow import PREPARE, Step
from pipeline.records import (
    backlog,
    claims,
    deliveries,
    identities,
    intake,
    overdue,
    quarantine,
    reported,
    results,
    studies,
)
from pipeline.records.claims import Outcome
from pipeline.records.intake import Arrival
from pipeline.settings import Settings
from pipeline.states import Priority, State
from pipeline.uid import new_id
from tests.faults.servers import Postgres
from tests.scale.million import HUGE_FROM, IMAGES, JOBS, WAITING_FROM, fill, image_id
from tests.scale.plans import reads_of

pytestmark = pytest.mark.timeout(1200)  # a million rows, twice

Ask = Callable[[Engine], object]

HUGE, SMALL = image_id(JOBS), image_id(500)
IDS = [image_id(number) for number in range(500, 532)]
LAST = image_id(IMAGES)
LINES = count(WAITING_FROM + 1, 99)


def claimed(engine: Engine) -> list[claims.Claim]:
    """Images in hand that nobody had before."""
    first = next(LINES)
    ids = [image_id(number) for number in range(first, first + 99) if number % 100]
    held = claims.claim(engine, "gate", ids, 60.0, "w", 1000)
    assert len(held) > 30
    return held


def requeued(engine: Engine, stage: str) -> list[list[intake.Nudge]]:
    """The first images that the stage answered, in one commit behind those that find none."""
    before = time.time() - 86400.0
    found = list(islice(overdue.requeue(engine, stage, State.PREPARED, before, 16, 60.0), 1))
    assert sum(len(nudge.image_ids) for nudges in found for nudge in nudges) > 1000
    return found


def taken(engine: Engine) -> object:
    """New images of an old job."""
    arrivals = [Arrival(new_id(), "name", new_id(), "0" * 64, original="o") for _ in range(32)]
    return intake.admit(engine, HUGE, arrivals, "prepare", 16, 60.0)


ASKED: dict[str, Ask] = {
    # pages and API
    "a job and its counts": lambda e: results.job(e, SMALL),
    "an image with its results": lambda e: results.image(e, IDS[0]),
    "the first page of a job": lambda e: results.page(e, SMALL),
    "the first page of a huge job": lambda e: results.page(e, HUGE),
    "a later page of a huge job": lambda e: results.page(e, HUGE, image_id(IMAGES - 2000)),
    "the quarantine": quarantine.listed,
    "what waits, for people": results.waiting,
    # the doors
    "whether paths are known": lambda e: intake.known_keys(e, HUGE, IDS),
    "whether bytes are stored": lambda e: intake.stored_originals(e, IDS),
    "images come in": taken,
    "how many are on their way": lambda e: intake.in_flight(e, IDS),
    "signatures are sent": lambda e: intake.sent(e, IDS),
    "the open job of a study": lambda e: studies.open_study(
        e, "2.25.1000", "PEER", "dicom", Priority.ROUTINE
    ),
    "whether it is ready": results.ping,
    "an instance of a study": lambda e: studies.held(e, SMALL, IDS[0]),
    # the workers
    "a claim": claimed,
    "whether an image failed before": lambda e: claims.is_suspect(e, "gate", LAST),
    "a renewal": lambda e: claims.renew(e, claimed(e), 60.0),
    "results": lambda e: claims.complete(
        e, "gate", [Outcome(c, Step(State.GATED, "type")) for c in claimed(e)], 16, 60.0
    ),
    "failed attempts": lambda e: claims.fail(e, "gate", [(c, "x") for c in claimed(e)], 9, 5.0),
    "claims given back": lambda e: claims.release(e, claimed(e), 5.0, "x"),
    # the reconciler
    "who holds images": lambda e: claims.holders(e, 60.0),
    "the dead are forsaken": lambda e: claims.forsake(e, ["gate@host:1"]),
    "signatures to send": lambda e: overdue.unsent(e, 2.0, 15.0),
    "a broker that takes nothing": lambda e: overdue.is_congested(e, 86400.0),
    "a scan": lambda e: overdue.scan(e, 60.0, 3, 32, lambda *_: True),
    "quiet studies": lambda e: studies.close_quiet(e, 30.0),
    # commands
    "images are sent again": lambda e: requeued(e, "gate"),
    "images are prepared again": lambda e: requeued(e, PREPARE),
    "what is not sent": results.unsent,
    # results as DICOM
    "the latest studies": lambda e: list(islice(reported.keys(e), 3 * reported.PAGE)),
    "results of a study": lambda e: reported.of_study(e, "2.25.1000"),
    "results of a study or an image": lambda e: reported.of_study(e, "2.25.1000", (IDS[0], IDS[0])),
    "results beside an image": lambda e: reported.beside(e, _view(e)),
    "results of a job": lambda e: reported.of_job(e, SMALL),
    "sealed identities": lambda e: identities.identity_of(e, IDS),
    "studies to deliver": lambda e: deliveries.unplanned(e, 600.0),
    "deliveries that are due": lambda e: deliveries.claim(e, "d", 60.0),
    # metrics
    "the backlog": backlog.look,
}
WHOLE = {"the backlog": {"outbox"}, "what is not sent": {"outbox"}}
"""Tables that are read from end to end on purpose: all rows of the outbox are what is counted."""


def _view(engine: Engine) -> results.ImageView:
    view = results.image(engine, IDS[0])
    assert view is not None
    return view


@pytest.fixture(scope="module", params=["postgresql", "sqlite"])
def million(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A million images."""
    # Not below pytest's folder: another run of pytest closes that to the user of the server.
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        address = None
        if request.param == "postgresql":
            server = Postgres(folder / "server")
            stack.callback(server.crash)
            server.start()
            address = server.database("million")
        settings = Settings(data_dir=folder, database_url=address)
        db.upgrade(settings)
        engine = db.engine(settings)
        stack.callback(engine.dispose)
        fill(engine)
        yield engine


@pytest.mark.parametrize("name", ASKED)
def test_only_a_part_of_each_table_is_read(million: Engine, name: str) -> None:
    whole = WHOLE.get(name, set())
    reads = [
        f"{step}: {' '.join(statement.split())[:300]}"
        for statement, step in reads_of(million, ASKED[name])
        if not whole & set(step.split())
    ]
    assert reads == []


def test_a_read_of_everything_is_noticed(million: Engine) -> None:
    with million.connect() as connection:
        everything = reads_of(million, lambda _: results.counts(connection))
    assert [step for _, step in everything if "image" in step]


def test_the_rows_are_as_they_are_told(million: Engine) -> None:
    job = results.job(million, HUGE)
    assert job is not None
    assert job.total >= IMAGES - HUGE_FROM
    assert (
        sum(line.images for line in backlog.look(million).lines.values()) >= IMAGES - WAITING_FROM
    )
