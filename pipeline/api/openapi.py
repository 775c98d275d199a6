"""The description of the API: FastAPI's, with the problem's schema and an example per answer."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from pipeline.api import examples
from pipeline.api.problems import Problem

_ABOUT = """Send images, get findings. Every error is a problem (RFC 9457) that names the field
at fault; every time is UTC; an id is 32 hexadecimal digits and sorts by arrival.

Research software, not a medical device."""


_EXAMPLES = {
    "JobAccepted": examples.JOB_ACCEPTED,
    "JobPublic": examples.JOB,
    "ImagePublic": examples.IMAGE,
    "ResultsPage": examples.RESULTS,
    "StagesPublic": examples.STAGES,
    "Alive": examples.ALIVE,
    "Ready": examples.READY,
}


def operation_id(route: APIRoute) -> str:
    """The name of the function: clean names in generated clients."""
    return route.name


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=_ABOUT,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        _describe_problems(document)
        _show_examples(document)
        app.openapi_schema = document
    return app.openapi_schema


def _describe_problems(document: dict[str, Any]) -> None:
    """Every error is a `Problem`; FastAPI's own shape of a validation error never leaves."""
    schemas = document["components"]["schemas"]
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs")
    schemas["Problem"] = problem
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operation in _operations(document):
        if "application/json" in operation["responses"].get("422", {}).get("content", {}):
            del operation["responses"]["422"]


def _show_examples(document: dict[str, Any]) -> None:
    # Not in the schemas themselves: FastAPI takes the nulls out of what is there.
    for operation in _operations(document):
        for response in operation["responses"].values():
            for content in response.get("content", {}).values():
                shape = content["schema"].get("$ref", "").rpartition("/")[2]
                if shape in _EXAMPLES:
                    content["example"] = _EXAMPLES[shape]


def _operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for methods in document["paths"].values() for operation in methods.values()]
