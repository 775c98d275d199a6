"""Files that only their owner may read, written in one step; and the secrets of a data folder."""

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path


def private_folder(path: Path) -> Path:
    """Make the folder, readable by its owner only; returns it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def write_private(path: Path, text: str) -> None:
    """Replace the file; a reader sees the old text or the new, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


@dataclass(frozen=True, slots=True)
class Secrets:
    """Drawn once for each data folder; they open nothing else."""

    broker_password: str
    s3_access_key: str
    s3_secret_key: str
    signing_key: str
    """With which the parts of the object storage trust each other."""


def secrets_of(folder: Path) -> Secrets:
    """Those of the data folder, drawn at its first use."""
    path = folder / "secrets.json"
    try:
        return Secrets(**json.loads(path.read_text()))
    except FileNotFoundError:
        drawn = Secrets(
            broker_password=secrets.token_urlsafe(24),
            s3_access_key=secrets.token_hex(10).upper(),
            s3_secret_key=secrets.token_urlsafe(30),
            signing_key=secrets.token_urlsafe(32),
        )
        write_private(path, json.dumps(asdict(drawn), indent=1))
        return drawn
