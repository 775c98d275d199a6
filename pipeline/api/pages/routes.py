"""The addresses of the pages: the door, one image, one job, and the description of the API."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import HTMLResponse

from pipeline.api.deps import ContextDep, ImageDep, JobDep
from pipeline.api.pages.reference import endpoints
from pipeline.api.pages.render import page
from pipeline.api.pages.view import image_facts, job_facts, row_facts, size
from pipeline.api.problems import Kind
from pipeline.image import FORMATS
from pipeline.records import results
from pipeline.reports.row import TYPE

router = APIRouter(include_in_schema=False)

ROWS = 200
"""Rows of a job on one page; the script loads further pages."""


@router.get("/")
async def home_page(request: Request, context: ContextDep) -> HTMLResponse:
    """Drop or pick images."""
    limit = context.settings.max_file_bytes
    facts = {
        "formats": FORMATS,
        "max_bytes": limit,
        "max_size": size(limit),
        "abnormality": [stage.on for stage in context.stages if stage.after == TYPE],
    }
    return page(request, "home.html", facts)


@router.get("/images/{image_id}")
def image_page(request: Request, view: ImageDep) -> HTMLResponse:
    """Progress of one image, then its result."""
    return page(request, "image.html", image_facts(view))


@router.get("/jobs/{job_id}")
def job_page(
    request: Request,
    context: ContextDep,
    job: JobDep,
    after: Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")] = None,
) -> HTMLResponse:
    """Progress and results of a job."""
    views = results.page(context.engine, job.id, after, ROWS + 1)
    following = views[ROWS - 1].row["id"] if len(views) > ROWS else None
    facts: dict[str, Any] = job_facts(job)
    facts |= {"rows": [row_facts(view) for view in views[:ROWS]], "following": following}
    return page(request, "job.html", facts)


@router.get("/docs")
async def docs_page(request: Request) -> HTMLResponse:
    """The API and its problems, for people."""
    facts = {"endpoints": endpoints(request.app.openapi()), "problems": list(Kind)}
    return page(request, "docs.html", facts)
