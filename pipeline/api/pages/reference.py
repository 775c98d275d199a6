"""The OpenAPI document, laid out for the page that describes the API."""

import json
import re
from typing import Any

from markupsafe import Markup, escape


def with_code(text: str) -> Markup:
    """Text in which what stands between backticks is set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped


def endpoints(openapi: dict[str, Any]) -> list[dict[str, Any]]:
    """One entry an operation, in the order of the document."""
    return [
        _endpoint(method, path, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]


def _endpoint(method: str, path: str, operation: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": operation["operationId"],
        "method": method.upper(),
        "path": path,
        "words": operation["description"],
        "parameters": [*operation.get("parameters", []), *_fields(operation)],
        "answers": [
            answer
            for status, response in operation["responses"].items()
            for answer in _answers(status, response)
        ],
    }


def _fields(operation: dict[str, Any]) -> list[dict[str, Any]]:
    """The fields of a form, in the shape of parameters."""
    contents = operation.get("requestBody", {}).get("content", {})
    return [
        {"name": name, "in": "form field", "description": shape["description"]}
        for content in contents.values()
        for name, shape in content["schema"].get("properties", {}).items()
    ]


def _answers(status: str, response: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "status": status,
            "words": words,
            "media": media,
            "example": example if isinstance(example, str) else json.dumps(example, indent=2),
        }
        for media, content in response.get("content", {}).items()
        for words, example in _examples(content, response["description"])
    ]


def _examples(content: dict[str, Any], words: str) -> list[tuple[str, Any]]:
    if "examples" in content:
        return [(entry["summary"], entry["value"]) for entry in content["examples"].values()]
    return [(words, content["example"])] if "example" in content else []
