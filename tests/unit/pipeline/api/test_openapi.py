"""The description is whole: no route and no problem without its example."""

import re
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from pipeline.api.problems import MEDIA_TYPE, Kind
from pipeline.api.schemas import PriorityWord
from pipeline.states import Priority


@pytest.fixture
def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document."""
    return app.openapi()


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every operation by its id."""
    return {
        operation["operationId"]: operation
        for methods in document["paths"].values()
        for operation in methods.values()
    }


def test_every_route_of_the_api_is_described(app: FastAPI, document: dict[str, Any]) -> None:
    described = set(operations(document))
    assert described == {
        "create_job",
        "get_job",
        "list_results",
        "get_image",
        "get_heatmap",
        "get_preview",
        "get_image_dicom",
        "store_instances",
        "store_study_instances",
        "retrieve_study",
        "retrieve_series",
        "retrieve_instance",
        "retrieve_study_metadata",
        "retrieve_series_metadata",
        "retrieve_instance_metadata",
        "retrieve_rendered_instance",
        "search_studies",
        "search_series",
        "search_study_instances",
        "search_series_instances",
        "list_stages",
        "healthz",
        "readyz",
    }


def test_every_answer_has_an_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        assert operation["description"], name
        for status, response in operation["responses"].items():
            assert response["content"], (name, status)
            for media, content in response["content"].items():
                assert content.get("example") or content.get("examples"), (name, status, media)


def test_every_kind_of_problem_is_shown_where_it_can_happen(document: dict[str, Any]) -> None:
    shown = {
        slug
        for operation in operations(document).values()
        for response in operation["responses"].values()
        for slug in response["content"].get(MEDIA_TYPE, {}).get("examples", {})
    }
    everywhere = {Kind.METHOD_NOT_ALLOWED.slug}
    assert shown | everywhere == {kind.slug for kind in Kind}


def test_examples_are_valid_for_their_schemas(document: dict[str, Any]) -> None:
    from pipeline.api import problems, schemas

    shapes = vars(schemas) | vars(problems)
    for operation in operations(document).values():
        for response in operation["responses"].values():
            for content in response["content"].values():
                name = content["schema"].get("$ref", "").rpartition("/")[2]
                if not name:
                    continue
                values = [entry["value"] for entry in content.get("examples", {}).values()]
                for value in values or [content["example"]]:
                    shapes[name].model_validate(value)


def test_references_of_the_document_are_defined(document: dict[str, Any]) -> None:
    named = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert named <= set(document["components"]["schemas"])


def test_priority_words_are_those_of_the_domain() -> None:
    assert set(PriorityWord.__args__) == {priority.word for priority in Priority}


def test_nothing_of_fastapis_own_error_shape_is_left(document: dict[str, Any]) -> None:
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_the_page_shows_every_endpoint_and_problem(client: TestClient) -> None:
    html = client.get("/docs").text
    assert "each as a form field <code>files</code>" in " ".join(html.split())
    for kind in Kind:
        assert f'id="problem-{kind.slug}"' in html
    for name in operations(client.get("/openapi.json").json()):
        assert f'id="{name}"' in html
