"""Studies on their way in: instances come one by one, a job is made of each study."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from pipeline.context import Context
from pipeline.ingest import BLOCK, Accepted, Source, accept
from pipeline.records import studies
from pipeline.records.studies import JobClosed
from pipeline.states import Priority

SOURCE = "dicom"
"""The door, as the job names it."""
STOW = "stow"
"""The `peer` of what comes by STOW-RS, which knows no application entity titles."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Where an instance is now; `accepted` is None where the open job had the same bytes."""

    job_id: str
    accepted: Accepted | None


def take(context: Context, study_uid: str, peer: str, source: Source) -> Taken:
    """Take one instance into the open job of its study; it is durable when this returns.

    `source.once_key` is the SOP Instance UID (0008,0018). The same instance sent again is stored
    once in an open job; other bytes under the same UID are no duplicate and are kept as well.
    `source.open` may be called more than once. Raises what `ingest.accept` raises.
    """
    while True:
        job_id = studies.open_study(context.engine, study_uid, peer, SOURCE, Priority.ROUTINE)
        try:
            return Taken(job_id, _admit(context, job_id, source))
        except JobClosed:
            continue  # quiet for too long while the bytes were stored: the next job takes it


def close_quiet(engine: Engine, quiet_s: float) -> Sequence[str]:
    """Close the jobs of studies of which nothing came for `quiet_s` seconds; returns their ids."""
    return studies.close_quiet(engine, quiet_s)


def _admit(context: Context, job_id: str, source: Source) -> Accepted | None:
    accepted = next(accept(context, job_id, [source]), None)
    if accepted is not None or source.once_key is None:
        return accepted
    digest = _digest(source)
    known = studies.held(context.engine, job_id, source.once_key)
    if known is not None and known.sha256 in (digest, None):
        return None
    other = replace(source, once_key=f"{source.once_key} {digest}")
    return next(accept(context, job_id, [other]), None)


def _digest(source: Source) -> str:
    digest = hashlib.sha256()
    with source.open() as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
