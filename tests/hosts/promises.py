"""The promises of the design (I1 to I8), checked once every image on the hosts has ended."""

from sqlalchemy import select

from pipeline.records import results
from pipeline.states import State
from pipeline.tables import images
from tests.faults.pictures import PATIENT, expected, number_of, told
from tests.faults.servers import wait_until
from tests.hosts.crew import Crew


def settle(crew: Crew, deadline_s: float) -> None:
    """Wait for the last image, then check every promise."""
    wait_until(lambda: crew.unfinished() == 0, "every image has ended", deadline_s)
    # The operator's own look: I1 to I4.
    code, said = crew.net.ask("a", "api", ["xraytriage", "verify", "--settled"])
    assert code == 0, said
    _check_rows(crew)
    _check_answers(crew)
    assert crew.is_alive(), "nobody had to start anything again"
    for host, service in crew.net.programs:
        assert PATIENT not in crew.net.said(host, service), "I8"


def _check_rows(crew: Crew) -> None:
    query = select(images.c.id, images.c.state, images.c.attempts, images.c.token)
    with crew.context.engine.connect() as connection:
        rows = connection.execute(query).all()
    assert {row[0] for row in rows} == crew.accepted, "I2, I6: all of them, and no others"
    assert {row[1] for row in rows} <= {State.DONE, State.REJECTED}
    most = crew.context.settings.attempts
    stages = 1 + len(crew.context.stages)
    assert all(attempts <= most and token <= stages * most for _, _, attempts, token in rows)


def _check_answers(crew: Crew) -> None:
    """I5: every answer is that of an undisturbed run."""
    with crew.context.engine.connect() as connection:
        jobs = set(connection.execute(select(images.c.job_id)).scalars())
    for job in jobs:
        for page in results.pages(crew.context.engine, job):
            for view in page:
                number = number_of(view.row["name"])
                assert number is not None
                assert told(view) == expected(number), view.row["id"]
