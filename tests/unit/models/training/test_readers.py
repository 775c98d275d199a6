"""Each public layout, as users unpack it, becomes the right records."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.training import readers
from models.training.errors import ManifestError
from models.training.labels import CHEST14
from models.training.manifest import Record, read_manifest


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)


def by_name(records: list[Record]) -> dict[str, Record]:
    return {record.path.name: record for record in records}


@pytest.fixture
def nih(tmp_path: Path) -> Path:
    for name in ("00000001_000.png", "00000002_000.png", "00000003_000.png"):
        image(tmp_path / "images_001" / "images" / name)
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text(
        "Image Index,Finding Labels,Follow-up #,Patient ID,View Position\n"
        "00000001_000.png,Cardiomegaly|Effusion,0,1,PA\n"
        "00000002_000.png,No Finding,0,2,AP\n"
        "00000003_000.png,Hernia,0,3,PA\n"
        "00000004_000.png,Mass,0,4,PA\n"
    )
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n00000003_000.png\n")
    (tmp_path / "test_list.txt").write_text("00000002_000.png\n")
    return tmp_path


def test_chestxray14_follows_the_official_lists(nih: Path) -> None:
    records = by_name(readers.read(nih))

    assert set(records) == {"00000001_000.png", "00000002_000.png", "00000003_000.png"}
    first, normal = records["00000001_000.png"], records["00000002_000.png"]
    assert first.positive == {"Cardiomegaly", "Effusion"}
    assert first.negative == set(CHEST14) - {"Cardiomegaly", "Effusion"}
    assert (first.abnormal, first.view, first.split in ("train", "val")) == (True, "PA", True)
    assert (normal.abnormal, normal.split, normal.negative) == (False, "test", set(CHEST14))


def test_chestxray14_without_lists_has_no_test_split(nih: Path) -> None:
    (nih / "train_val_list.txt").unlink()
    (nih / "test_list.txt").unlink()

    assert {r.split for r in readers.read(nih)} <= {"train", "val"}


def test_chexpert_masks_what_is_uncertain_or_not_said(tmp_path: Path) -> None:
    head = "Path,Frontal/Lateral,AP/PA,No Finding,Cardiomegaly,Edema,Pleural Effusion,Fracture\n"
    study = "CheXpert-v1.0-small/train/patient00001/study1/"
    (tmp_path / "train.csv").write_text(
        head
        + f"{study}view1_frontal.jpg,Frontal,AP,,1.0,-1.0,0.0,1.0\n"
        + f"{study}view2_lateral.jpg,Lateral,,,1.0,,,\n"
        + f"{study}view3_frontal.jpg,Frontal,PA,1.0,,,,\n"
        + f"{study}view4_frontal.jpg,Frontal,PA,,,,,1.0\n"
    )
    records = by_name(readers.read(tmp_path))

    assert len(records) == 3
    sick = records["view1_frontal.jpg"]
    assert (sick.positive, sick.negative, sick.abnormal) == ({"Cardiomegaly"}, {"Effusion"}, True)
    assert sick.path == tmp_path / "train/patient00001/study1/view1_frontal.jpg"
    assert records["view3_frontal.jpg"].negative == set(CHEST14)
    # Only a fracture, which is none of our labels: abnormal or not stays unknown.
    assert records["view4_frontal.jpg"].abnormal is None
    assert len({r.split for r in records.values()}) == 1


def test_mura_knows_the_body_part_and_keeps_patients_together(tmp_path: Path) -> None:
    base = "MURA-v1.1/{}/XR_{}/patient{:05d}/study1_positive/image{}.png\n"
    (tmp_path / "train_image_paths.csv").write_text(
        base.format("train", "WRIST", 1, 1) + base.format("train", "HAND", 1, 2)
    )
    (tmp_path / "valid_image_paths.csv").write_text(base.format("valid", "ELBOW", 7, 1))
    records = readers.read(tmp_path)

    assert [r.xray_type for r in records] == ["wrist", "hand", "elbow"]
    assert records[0].split == records[1].split
    assert (records[2].split, records[2].is_xray) == ("test", True)


def test_folder_per_class(tmp_path: Path) -> None:
    for name in ("normal", "abnormal", "hand", "other"):
        image(tmp_path / "train" / name / "a.png")
        image(tmp_path / "val" / name / "b.jpg")
    image(tmp_path / "train" / "notes" / "c.png")
    records = readers.read(tmp_path)

    assert len(records) == 8
    assert {(r.xray_type, r.is_xray, r.abnormal) for r in records} == {
        ("chest", True, False),
        ("chest", True, True),
        ("hand", True, None),
        ("", False, None),
    }
    assert sum(r.split == "val" for r in records) == 4


def test_our_manifest(manifest: Path) -> None:
    records = readers.read(manifest.parent)

    assert len(records) == 96
    first = records[0]
    assert (first.abnormal, first.negative) == (False, {"Mass", "Edema"})
    assert first.path.is_file()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,split\na.png,train\n", "missing column.*is_xray"),
        ("file,split,is_xray\na.png,trian,1\n", "split is 'trian'"),
        ("file,split,is_xray\na.png,train,yes\n", "is_xray is 'yes'"),
        ("file,split,is_xray\n", "holds no image"),
        (
            "file,split,is_xray,group_id\na.png,train,1,p1\nb.png,val,1,p1\n",
            "group p1 is in 'train' and in 'val'",
        ),
    ],
)
def test_a_wrong_manifest_is_explained(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(ManifestError, match=words):
        read_manifest(path)


def test_an_unknown_layout_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"manifest\.csv.*CheXpert.*MURA"):
        readers.read(tmp_path)


def test_a_missing_manifest_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such manifest"):
        read_manifest(tmp_path / "absent.csv")
