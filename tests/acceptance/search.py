"""What was invented for a patient, and the search for it in whatever a system leaves behind."""

from collections.abc import Iterable
from pathlib import Path

import redis
from sqlalchemy import Engine, select
from sqlmodel import SQLModel

NAME, FILE_NAME = "Zzyzx", "Qqfilename"
SECRETS = (NAME, "PID7770001", "19370211", "ACC8880002", "STID9990003", "5550199")
"""All that was invented for the patient; each is found nowhere else by chance."""


def found_in(data: bytes, secrets: Iterable[str] = SECRETS) -> list[str]:
    """Which of the secrets stand in these bytes, in any encoding that we or Python would use."""
    spelled = {
        secret: {secret.encode(code) for code in ("utf-8", "utf-16-le", "utf-16-be")}
        for secret in secrets
    }
    return [secret for secret, forms in spelled.items() if any(form in data for form in forms)]


def dirty_files(folder: Path, secrets: Iterable[str], *without: str) -> dict[str, list[str]]:
    """Path -> secrets, of all files below a folder except in the named subfolders."""
    seen = {}
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if relative.parts[0] in without or not path.is_file():
            continue
        if found := found_in(path.read_bytes(), secrets):
            seen[str(relative)] = found
    return seen


def dirty_tables(engine: Engine, secrets: Iterable[str] = SECRETS) -> dict[str, list[str]]:
    """Table -> secrets in its rows; the database of a server has no file that could be searched."""
    seen = {}
    with engine.connect() as connection:
        for table in SQLModel.metadata.sorted_tables:
            held = repr(connection.execute(select(table)).all()).encode()
            if found := found_in(held, secrets):
                seen[table.name] = found
    return seen


def broker_bytes(address: str) -> bytes:
    """Every key of the broker with all that is under it."""
    readers = {
        b"list": lambda c, k: c.lrange(k, 0, -1),
        b"string": lambda c, k: c.get(k),
        b"hash": lambda c, k: c.hgetall(k),
        b"set": lambda c, k: c.smembers(k),
        b"zset": lambda c, k: c.zrange(k, 0, -1, withscores=True),
    }
    with redis.Redis.from_url(address) as client:
        keys = list(client.scan_iter())
        held = [(key, readers[client.type(key)](client, key)) for key in keys]
    return repr(held).encode()
