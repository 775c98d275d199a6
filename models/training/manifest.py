"""One labelled image, and our own manifest format (one CSV row an image)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.training.errors import ManifestError

REQUIRED = ("file", "split", "is_xray")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Record:
    """One image and what is known about it; ``None`` and an empty set mean *unknown*.

    `positive` and `negative` are ChestX-ray14 labels known present and known absent; a label in
    neither takes no part in loss or metrics.
    """

    path: Path
    split: str
    is_xray: bool | None = None
    group: str = ""
    xray_type: str = ""
    abnormal: bool | None = None
    positive: frozenset[str] = frozenset()
    negative: frozenset[str] = frozenset()
    view: str = ""
    dataset: str = ""
    source: str = ""
    group_id: str = ""
    license: str = ""


def read_manifest(path: Path, root: Path | None = None) -> list[Record]:
    """Records of a manifest CSV; `file` is relative to `root` (by default the CSV's folder).

    Raises ManifestError when the file is missing, a required column is missing, a value can't be
    read, or the same group is in more than one split.
    """
    if not path.is_file():
        raise ManifestError(f"{path}: no such manifest; give the CSV, or the folder that holds it")
    base = root or path.parent
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in REQUIRED if name not in (reader.fieldnames or ())]
        if missing:
            raise ManifestError(f"{path}: missing column(s) {', '.join(missing)}")
        records = [_record(row, base, f"{path}:{n}") for n, row in enumerate(reader, start=2)]
    if not records:
        raise ManifestError(f"{path}: holds no image")
    check_groups(records)
    return records


def _record(row: dict[str, str], base: Path, where: str) -> Record:
    split = row["split"].strip()
    if split not in SPLITS:
        raise ManifestError(f"{where}: split is '{split}'; use one of {', '.join(SPLITS)}")
    return Record(
        path=base / row["file"],
        split=split,
        is_xray=flag(row["is_xray"], f"{where}: is_xray"),
        group=row.get("group", ""),
        xray_type=row.get("xray_type", ""),
        abnormal=flag(row.get("abnormal", ""), f"{where}: abnormal"),
        positive=names(row.get("positive", "")),
        negative=names(row.get("negative", "")),
        view=row.get("view", ""),
        dataset=row.get("dataset", "") or "unknown",
        source=row.get("source", ""),
        group_id=row.get("group_id", ""),
        license=row.get("license", ""),
    )


def flag(text: str, where: str) -> bool | None:
    """'1' is True, '0' is False, empty is None; anything else is a ManifestError."""
    value = text.strip()
    if value not in ("", "0", "1"):
        raise ManifestError(f"{where} is '{value}'; use 1, 0, or nothing when unknown")
    return None if not value else value == "1"


def names(text: str) -> frozenset[str]:
    """The labels of a ';'-separated cell."""
    return frozenset(part.strip() for part in text.split(";") if part.strip())


def check_groups(records: Sequence[Record]) -> None:
    """Raise ManifestError when a `group_id` (a patient) is in more than one split."""
    seen: dict[str, str] = {}
    for record in records:
        if record.group_id and seen.setdefault(record.group_id, record.split) != record.split:
            raise ManifestError(
                f"group {record.group_id} is in '{seen[record.group_id]}' and in "
                f"'{record.split}'; a patient must stay in one split, or validation lies"
            )


def of_split(records: Sequence[Record], split: str) -> list[Record]:
    """The records of one split, in order."""
    return [record for record in records if record.split == split]
