"""Sealed identities: written with the image that they belong to, read for results as DICOM."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Engine, delete, insert, select

from pipeline.db import read
from pipeline.tables import identities


def put(connection: Connection, sealed: Mapping[str, bytes]) -> None:
    """Keep image id -> sealed identity, in the caller's transaction; what was there goes."""
    if sealed:
        ids = list(sealed)
        connection.execute(delete(identities).where(identities.c.image_id.in_(ids)))
        rows = [{"image_id": image_id, "sealed": blob} for image_id, blob in sealed.items()]
        connection.execute(insert(identities), rows)


def identity_of(engine: Engine, image_ids: Sequence[str]) -> dict[str, bytes]:
    """Image id -> sealed identity of those that have one; `pipeline.identity.unseal` opens it."""
    query = select(identities.c.image_id, identities.c.sealed)
    query = query.where(identities.c.image_id.in_(image_ids))
    return read(engine, lambda connection: {row[0]: row[1] for row in connection.execute(query)})
