"""A database of the first release, with rows in it, is upgraded in place and taken back."""

from alembic import command
from sqlalchemy import Engine, inspect, text

from pipeline import db
from pipeline.settings import Settings


def test_rows_of_the_first_tables_survive_both_ways(config: Settings) -> None:
    command.upgrade(db.migrations(config), "0001")
    engine = db.engine(config)
    check_in_place(engine, config)
    engine.dispose()


def check_in_place(engine: Engine, config: Settings) -> None:
    """Upgrade and downgrade a database at 0001; its rows stay what they were."""
    with engine.begin() as connection:
        for job_id in ("j1", "j2"):  # two open jobs without a study do not collide
            connection.execute(
                text(
                    "INSERT INTO job (id, source, priority, created_at) VALUES (:id, 'api', 3, 1)"
                ),
                {"id": job_id},
            )
        connection.execute(
            text(
                "INSERT INTO image (id, job_id, name, size_bytes, priority, state, attempts, "
                "created_at, header) VALUES ('i1', 'j1', 'a.dcm', 1, 3, 'done', 0, 1, "
                """'{"study_instance_uid": "2.25.1"}')"""
            )
        )
    db.upgrade(config)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT study_instance_uid, peer, last_arrival_at FROM job"))
        assert rows.all() == [(None, None, None)] * 2
        assert connection.execute(text("SELECT flags FROM image")).all() == [(None,)]
        assert connection.execute(text("SELECT count(*) FROM identity")).scalar_one() == 0
    command.downgrade(db.migrations(config), "0001")
    assert "identity" not in inspect(engine).get_table_names()
    assert "peer" not in {column["name"] for column in inspect(engine).get_columns("job")}
    with engine.connect() as connection:
        assert connection.execute(text("SELECT id, job_id FROM image")).all() == [("i1", "j1")]
        assert connection.execute(text("SELECT id FROM job ORDER BY id")).all() == [
            ("j1",),
            ("j2",),
        ]
