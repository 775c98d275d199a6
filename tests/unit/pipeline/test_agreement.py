"""What a header says is compared with the answer of the type stage, and with nothing else."""

from typing import Any

import pytest
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts

from models.catalogue import read_cards
from pipeline.agreement import CODES, TYPES, body_part, flags

BODY_PARTS = [
    ("HAND", "chest", "header says HAND, image looks like CHEST"),
    ("CHEST", "foot", "header says CHEST, image looks like FOOT"),
    ("BREAST", "chest", "header says BREAST, image looks like CHEST"),
    ("ABDOMEN", "hand", "header says ABDOMEN, image looks like HAND"),
    ("THORAX", "knee", "header says CHEST, image looks like KNEE"),
    ("L SPINE", "skull", "header says LSPINE, image looks like SKULL"),
    ("TIB_FIB", "hand", "header says TIBIAFIBULA, image looks like HAND"),
    ("CHEST", "chest", None),
    ("HAND", "wrist", None),
    ("FINGER", "hand", None),
    ("PELVIS", "hip", None),
    ("JAW", "dental", None),
    ("ABDOMEN", "spine", None),
    ("EXTREMITY", "ankle", None),
    ("WHOLEBODY", "hand", None),
    ("SMITH JOHN", "hand", None),
    ("HAND", "unknown", None),
    ("HAND", "tail", None),
    ("HAND", None, None),
]


@pytest.mark.parametrize(("part", "answer", "message"), BODY_PARTS)
def test_the_body_part_of_the_header(part: str, answer: str | None, message: str | None) -> None:
    expected = [] if message is None else [{"code": "body_part", "message": message}]
    assert flags({"body_part_examined": part}, answer) == expected


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ({"anatomic_region_code": "SCT:85562004"}, "HAND"),
        ({"anatomic_region_code": "SRT:T-D8700"}, "HAND"),
        ({"anatomic_region_code": "SNM3:T-D8700"}, "HAND"),
        ({"anatomic_region_code": "DCM:85562004"}, None),
        ({"anatomic_region_code": "SCT:1"}, None),
        ({"body_part_examined": "FOOT", "anatomic_region_code": "SCT:85562004"}, "FOOT"),
        ({"body_part_examined": "XYZ", "anatomic_region_code": "SCT:85562004"}, "HAND"),
        ({}, None),
    ],
)
def test_where_the_body_part_is_taken_from(header: dict[str, Any], part: str | None) -> None:
    assert body_part(header) == part


def test_a_view_that_only_a_breast_has() -> None:
    said = flags({"view_position": "MLO"}, "chest")
    assert [flag["code"] for flag in said] == ["view_position"]
    assert flags({"view_position": "MLO"}, "mammography") == []
    assert flags({"view_position": "PA", "laterality": "L"}, "knee") == []


def test_no_header_no_flag() -> None:
    assert flags(None, "chest") == []
    assert flags({}, "chest") == []


def test_all_answers_of_the_shipped_type_stage_can_be_compared() -> None:
    assert {label.name for label in read_cards()["type"].labels} == TYPES


def test_every_code_is_one_of_the_standard_and_means_what_it_stands_for() -> None:
    listed = {
        code: meaning.lower()
        for cid in (4009, 4031)
        for keyword in cid_concepts[cid]["SCT"]
        for code, (meaning, *_) in concepts["SCT"][keyword].items()
    }
    for code, part in CODES.items():
        if code == "51185008":
            continue  # of earlier editions
        words = listed[code].replace(" and ", "").replace(" ", "").replace("-", "")
        letters = {"CSPINE": "cervical", "LSPINE": "lumbar", "TSPINE": "thoracic"}
        joints = {"ACJOINT": "acromio", "SIJOINT": "sacroiliac", "TMJ": "temporomandibular"}
        expected = (letters | joints).get(part, part.lower())
        assert expected in words, (code, part)
