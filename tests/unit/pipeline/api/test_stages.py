"""The catalogue and the cards behind it."""

from dataclasses import replace
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient

from models.card import CARD_FILE, write_card
from models.catalogue import STAGES
from pipeline.context import Context
from tests.stand_in.stages import card


def test_stages_show_the_essence_of_their_cards(
    app: FastAPI, client: TestClient, context: Context, tmp_path: Path
) -> None:
    gate = replace(STAGES[0], weights=str(tmp_path))
    write_card(card("gate", ("other", "xray"), "softmax"), tmp_path / CARD_FILE)
    type_ = replace(STAGES[1], weights=str(tmp_path / "nowhere"))
    app.state.context = replace(context, stages=(gate, type_))

    first, second = client.get("/v1/stages").json()["stages"]

    assert (first["name"], first["after"], first["card_error"]) == ("gate", None, None)
    assert first["card"]["model_version"] == "gate-0.0.0+00000000"
    assert [label["name"] for label in first["card"]["labels"]] == ["other", "xray"]
    assert first["card"]["labels"][1]["operating_points"]["balanced"]["threshold"] == 0.5
    assert (second["name"], second["after"], second["on"]) == ("type", "gate", "xray")
    assert second["card"] is None
    assert str(tmp_path) not in second["card_error"]
