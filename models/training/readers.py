"""The public layouts that users have on disk, read into our records.

Each reader takes the folder as it was unpacked. What a layout doesn't say stays unknown, and is
masked in loss and metrics.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from models.training.errors import ManifestError
from models.training.labels import CHEST14, GATE, TYPES
from models.training.manifest import Record, check_groups, read_manifest

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})
VAL_SHARE = 0.1
# CheXpert's words for the findings that ChestX-ray14 has too.
CHEXPERT = {"Pleural Effusion": "Effusion"} | {
    name: name
    for name in (
        "Atelectasis",
        "Cardiomegaly",
        "Consolidation",
        "Edema",
        "Pneumonia",
        "Pneumothorax",
    )
}
MURA_PREFIX = "XR_"


def read(folder: Path) -> list[Record]:
    """The records of a folder (or manifest file) in any layout that we know.

    Raises ManifestError that lists the layouts when it is none of them.
    """
    if folder.is_file():
        return read_manifest(folder)
    for recognises, reader in LAYOUTS:
        if recognises(folder):
            records = list(reader(folder))
            if not records:
                raise ManifestError(f"{folder}: no image found in it")
            check_groups(records)
            return records
    raise ManifestError(
        f"{folder}: no known layout. Expected manifest.csv, Data_Entry_2017*.csv (ChestX-ray14), "
        "train.csv with a Path column (CheXpert), train_image_paths.csv (MURA), or one folder "
        f"per class named {', '.join(GATE)}, normal, abnormal, or a body part"
    )


def split_of(group_id: str, share: float = VAL_SHARE) -> str:
    """'train' or 'val' from a hash of the patient: the same on every machine and every run."""
    digest = hashlib.sha256(group_id.encode()).digest()
    return "val" if int.from_bytes(digest[:4], "big") / 2**32 < share else "train"


def chestxray14(folder: Path) -> Iterator[Record]:
    """ChestX-ray14 (Wang et al. 2017): `Data_Entry_2017*.csv` and `images*/`.

    With the official lists (`train_val_list.txt`, `test_list.txt`), the test list becomes split
    'test' and a tenth of the other patients 'val'; without them there is no 'test'.
    """
    table = next(iter(sorted(folder.glob("Data_Entry_2017*.csv"))))
    files = {path.name: path for path in sorted(folder.rglob("*.png"))}
    test = _listed(folder / "test_list.txt")
    allowed = _listed(folder / "train_val_list.txt") | test
    for row in _rows(table, ("Image Index", "Finding Labels", "Patient ID")):
        name = row["Image Index"]
        if name not in files or (allowed and name not in allowed):
            continue
        found = frozenset(row["Finding Labels"].split("|")) & frozenset(CHEST14)
        yield Record(
            path=files[name],
            split="test" if name in test else split_of(row["Patient ID"]),
            is_xray=True,
            group="radiograph",
            xray_type="chest",
            abnormal=bool(found),
            positive=found,
            negative=frozenset(CHEST14) - found,
            view=row.get("View Position", ""),
            dataset="nih",
            source="ChestX-ray14",
            group_id=f"nih-{row['Patient ID']}",
        )


def chexpert(folder: Path) -> Iterator[Record]:
    """CheXpert (Irvin et al. 2019): `train.csv`, `valid.csv` (split 'test'); frontal views only.

    Uncertain (-1) and empty cells stay unknown, except that empty means absent where
    "No Finding" is 1.
    """
    for name, official in (("train.csv", False), ("valid.csv", True)):
        table = folder / name
        if not table.is_file():
            continue
        for row in _rows(table, ("Path", "No Finding")):
            if row.get("Frontal/Lateral", "Frontal") != "Frontal":
                continue
            yield _chexpert_record(folder, row, official)


def _chexpert_record(folder: Path, row: dict[str, str], official: bool) -> Record:
    patient = next((p for p in Path(row["Path"]).parts if p.startswith("patient")), row["Path"])
    healthy = _is(row["No Finding"], 1)
    positive = frozenset(ours for theirs, ours in CHEXPERT.items() if _is(row.get(theirs), 1))
    negative = frozenset(ours for theirs, ours in CHEXPERT.items() if _is(row.get(theirs), 0))
    return Record(
        path=_below(folder, row["Path"]),
        split="test" if official else split_of(patient),
        is_xray=True,
        group="radiograph",
        xray_type="chest",
        abnormal=False if healthy else True if positive else None,
        positive=positive,
        negative=frozenset(CHEST14) if healthy else negative,
        view=row.get("AP/PA", ""),
        dataset="chexpert",
        source="CheXpert",
        group_id=f"chexpert-{patient}",
    )


def mura(folder: Path) -> Iterator[Record]:
    """MURA (Rajpurkar et al. 2018): `train_image_paths.csv`, `valid_image_paths.csv` ('test')."""
    for name, official in (("train_image_paths.csv", False), ("valid_image_paths.csv", True)):
        table = folder / name
        if not table.is_file():
            continue
        with table.open(newline="", encoding="utf-8") as stream:
            paths = [row[0] for row in csv.reader(stream) if row]
        for path in paths:
            yield _mura_record(folder, path, official)


def _mura_record(folder: Path, path: str, official: bool) -> Record:
    parts = Path(path).parts
    part = next((p for p in parts if p.startswith(MURA_PREFIX)), "")
    kind = part.removeprefix(MURA_PREFIX).lower()
    if kind not in TYPES:
        raise ManifestError(f"{path}: no folder such as XR_WRIST in it; is this MURA?")
    patient = next((p for p in parts if p.startswith("patient")), path)
    return Record(
        path=_below(folder, path),
        split="test" if official else split_of(patient),
        is_xray=True,
        group="radiograph",
        xray_type=kind,
        dataset="mura",
        source="MURA-v1.1",
        group_id=f"mura-{patient}",
    )


def folder_per_class(folder: Path) -> Iterator[Record]:
    """One folder a class: other, xray, a body part, or normal / abnormal (chest).

    With `train/` and `val/` (or `test/`) above the classes these are the splits; else a tenth of
    the files is 'val'.
    """
    for split in ("train", "val", "test", ""):
        base = folder / split if split else folder
        for directory in sorted(p for p in _folders(base) if p.name.lower() in _CLASSES):
            for path in sorted(p for p in directory.rglob("*") if p.suffix.lower() in IMAGES):
                place = split or split_of(str(path.relative_to(folder)))
                yield _class_record(path, directory.name.lower(), place, folder.name)


_CLASSES = frozenset({*GATE, *TYPES, "normal", "abnormal"})


def _class_record(path: Path, name: str, split: str, dataset: str) -> Record:
    chest = name in ("normal", "abnormal")
    kind = "chest" if chest else name if name in TYPES else ""
    return Record(
        path=path,
        split=split,
        is_xray=name != GATE[0],
        group="radiograph" if name != GATE[0] else "other",
        xray_type=kind,
        abnormal=name == "abnormal" if chest else None,
        negative=frozenset(CHEST14) if name == "normal" else frozenset(),
        dataset=dataset,
    )


def _has_classes(folder: Path) -> bool:
    bases = [folder, *(folder / split for split in ("train", "val", "test"))]
    return any(p.name.lower() in _CLASSES for base in bases for p in _folders(base))


def _folders(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.is_dir()] if folder.is_dir() else []


def _rows(table: Path, needed: tuple[str, ...]) -> Iterator[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in needed if name not in (reader.fieldnames or ())]
        if missing:
            raise ManifestError(f"{table}: missing column(s) {', '.join(missing)}")
        yield from reader


def _listed(path: Path) -> frozenset[str]:
    return frozenset(path.read_text(encoding="utf-8").split()) if path.is_file() else frozenset()


def _is(cell: str | None, value: int) -> bool:
    return bool(cell) and cell not in (None, "") and float(cell or "nan") == value


def _below(folder: Path, path: str) -> Path:
    """A path of a CSV that starts with the data set's own name ('MURA-v1.1/train/…')."""
    direct = folder / path
    return direct if direct.exists() else folder.joinpath(*Path(path).parts[1:])


LAYOUTS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Iterator[Record]]], ...] = (
    (lambda f: (f / "manifest.csv").is_file(), lambda f: iter(read_manifest(f / "manifest.csv"))),
    (lambda f: any(f.glob("Data_Entry_2017*.csv")), chestxray14),
    (lambda f: (f / "train_image_paths.csv").is_file(), mura),
    (lambda f: (f / "train.csv").is_file() or (f / "valid.csv").is_file(), chexpert),
    (_has_classes, folder_per_class),
)
