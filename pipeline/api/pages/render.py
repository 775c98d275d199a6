"""Templates become responses; errors become pages where a person is looking."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.templating import Jinja2Templates

from pipeline.api.headers import path_of
from pipeline.api.pages.reference import with_code
from pipeline.api.problems import Problem

HERE = Path(__file__).parent
STATIC = HERE / "static"

_API = ("/v1/", "/healthz", "/readyz", "/openapi.json", "/static/")

_templates = Jinja2Templates(HERE / "templates")
_templates.env.trim_blocks = True
_templates.env.lstrip_blocks = True
_templates.env.filters["with_code"] = with_code


def page(
    request: Request,
    template: str,
    values: dict[str, Any],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """A template filled in."""
    return _templates.TemplateResponse(request, template, values, status, headers)


def wants_page(request: Request) -> bool:
    """Whether a person's browser asks for something that is not the API."""
    if path_of(request.scope).startswith(_API):
        return False
    return "text/html" in request.headers.get("accept", "")


def error_page(request: Request, problem: Problem, headers: Mapping[str, str]) -> Response:
    """A problem, for people."""
    return page(request, "error.html", {"problem": problem}, problem.status, headers)
