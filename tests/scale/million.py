"""A database as it is after a million images: most have ended, some wait, one job is huge."""

import json
import time
from typing import Any

from sqlalchemy import Engine
from sqlmodel import SQLModel

from pipeline import tables

IMAGES = 1_000_000
JOBS = 20_000
HUGE_FROM = 700_000
"""Images from here on are of the last job; before, 36 are of each."""
WAITING_FROM = 995_000
"""Images from here on wait for a stage or are worked on."""

FILLED = ("job", "image", "stage_run", "finding", "identity", "outbox", "delivery", "delivery_plan")
assert set(FILLED) <= set(SQLModel.metadata.tables), tables.__name__

# Both databases are given the table `numbers` and the functions that are used here.
FILLS = (
    f"""INSERT INTO job (id, source, priority, created_at, closed_at, study_instance_uid, peer,
                         last_arrival_at)
        SELECT hex32(n), 'dicom', 3, n,
               CASE WHEN n % 1000 = 0 THEN NULL ELSE now_epoch() - n END,
               CASE WHEN n % 2 = 0 THEN '2.25.' || n END, CASE WHEN n % 2 = 0 THEN 'PEER' END,
               CASE WHEN n % 2 = 0 THEN now_epoch() - n END
        FROM numbers WHERE n <= {JOBS}""",
    f"""INSERT INTO image (id, job_id, name, once_key, sha256, size_bytes, original, prepared,
                           header, priority, state, stage, reason_code, attempts, token, due_at,
                           queued_at, lease_until, worker, created_at, finished_at)
        SELECT hex32(n), hex32(job), 'name', hex32(n), hex32(n), 1000, 'o', 'p',
               CASE WHEN n % 2 = 0 THEN header_of(job) END, 3,
               CASE WHEN is_waiting THEN 'prepared' WHEN n % 5000 = 0 THEN 'quarantined'
                    WHEN n % 10 = 1 THEN 'rejected' ELSE 'done' END,
               CASE WHEN is_waiting
                    THEN CASE n % 3 WHEN 0 THEN 'gate' WHEN 1 THEN 'type' ELSE 'chest' END END,
               CASE WHEN n % 10 = 1 THEN 'not_xray' END, 0, 1,
               CASE WHEN is_waiting THEN now_epoch() - 60 + n % 3600 END,
               CASE WHEN is_waiting THEN now_epoch() - 60 END,
               CASE WHEN is_waiting AND n % 100 = 0 THEN now_epoch() + 60 END,
               CASE WHEN is_waiting AND n % 100 = 0 THEN 'gate@host:1' END,
               n, CASE WHEN is_waiting THEN NULL ELSE n END
        FROM (SELECT n, n > {WAITING_FROM} AS is_waiting,
                     CASE WHEN n > {HUGE_FROM} THEN {JOBS} ELSE n / 36 + 1 END AS job
              FROM numbers) AS made""",
    f"""INSERT INTO stage_run (image_id, stage, model_version, scores, operating_point, wait_ms,
                               compute_ms, worker, created_at)
        SELECT hex32(n), 'gate', 'gate-1', '{{}}', 'balanced', 1, 1, 'w', n
        FROM numbers WHERE n > {HUGE_FROM}""",
    f"""INSERT INTO finding (image_id, stage, model_version, label, score, threshold, positive,
                             experimental)
        SELECT hex32(n), 'gate', 'gate-1', 'abnormal', 0.9, 0.5, true, false
        FROM numbers WHERE n <= {JOBS}""",
    f"""INSERT INTO identity (image_id, sealed)
        SELECT hex32(n), sealed() FROM numbers WHERE n <= {JOBS}""",
    f"""INSERT INTO outbox (id, stage, priority, image_ids, created_at, due_at)
        SELECT hex32(n), 'gate', 3, '[]', now_epoch(),
               now_epoch() + CASE WHEN n % 100 = 0 THEN -60 ELSE 3600 END
        FROM numbers WHERE n <= {JOBS}""",
    f"""INSERT INTO delivery (sop_instance_uid, job_id, destination, state, attempts, due_at)
        SELECT '2.25.' || n, hex32(n), 'd',
               CASE WHEN n % 100 = 0 THEN 'waiting' ELSE 'delivered' END, 1, n
        FROM numbers WHERE n <= {JOBS}""",
    f"""INSERT INTO delivery_plan (job_id, planned_at)
        SELECT hex32(n), n FROM numbers WHERE n <= {JOBS} AND n % 10 > 0""",
)


def image_id(number: int) -> str:
    """The id of an image, or of a job."""
    return f"{number:032x}"


def fill(engine: Engine) -> None:
    """Fill the migrated, empty tables; their indices are made last, as that is much faster."""
    indices = [index for name in FILLED for index in SQLModel.metadata.tables[name].indexes]
    is_postgres = engine.dialect.name == "postgresql"
    with engine.execution_options(writes=True).connect() as connection:
        driver: Any = connection.connection.driver_connection
        (_begin_postgres if is_postgres else _begin_sqlite)(driver)
        for index in indices:
            index.drop(connection)
        for statement in FILLS:
            driver.execute(statement)
        for index in indices:
            index.create(connection)
        connection.commit()
    if is_postgres:
        # Its autovacuum does the same after a while; SQLite knows nothing of the kind.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


_POSTGRES = f"""
SET session_replication_role = replica; -- no look-ups of foreign keys
SET synchronous_commit = off;
SET maintenance_work_mem = '256MB';
CREATE FUNCTION hex32(bigint) RETURNS text IMMUTABLE LANGUAGE sql
  AS $$ SELECT lpad(to_hex($1), 32, '0') $$;
CREATE FUNCTION header_of(bigint) RETURNS json IMMUTABLE LANGUAGE sql
  AS $$ SELECT json_build_object('study_instance_uid', '2.25.' || $1) $$;
CREATE FUNCTION now_epoch() RETURNS float8 STABLE LANGUAGE sql
  AS $$ SELECT extract(epoch FROM now())::float8 $$;
CREATE FUNCTION sealed() RETURNS bytea IMMUTABLE LANGUAGE sql AS $$ SELECT decode('00', 'hex') $$;
CREATE TEMP TABLE numbers AS SELECT generate_series(1, {IMAGES})::bigint AS n;
"""


def _begin_postgres(driver: Any) -> None:
    driver.execute(_POSTGRES)


def _begin_sqlite(driver: Any) -> None:
    now = time.time()
    for name, arguments, function in (
        ("hex32", 1, image_id),
        ("header_of", 1, lambda job: json.dumps({"study_instance_uid": f"2.25.{job}"})),
        ("now_epoch", 0, lambda: now),
        ("sealed", 0, lambda: b"\0"),
    ):
        driver.create_function(name, arguments, function, deterministic=True)
    for pragma in ("foreign_keys = OFF", "synchronous = OFF", "cache_size = -200000"):
        driver.execute(f"PRAGMA {pragma}")
    driver.execute(
        f"""CREATE TEMP TABLE numbers AS WITH RECURSIVE up(n) AS
            (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < {IMAGES}) SELECT n FROM up"""
    )
