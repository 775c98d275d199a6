"""What routes ask for, so that their signatures read like sentences."""

import re
from typing import Annotated

from fastapi import Depends, Path
from starlette.requests import Request

from pipeline.api.problems import Kind, ProblemError
from pipeline.context import Context
from pipeline.records import results
from pipeline.records.results import ImageView, JobView

_ID = re.compile(r"[0-9a-f]{32}")


async def opened_context(request: Request) -> Context:
    """What the application opened when it started."""
    context: Context = request.app.state.context
    return context


ContextDep = Annotated[Context, Depends(opened_context)]


def known_job(
    context: ContextDep,
    job_id: Annotated[str, Path(description="Id of the job", examples=["0" * 32])],
) -> JobView:
    """The job of the address, or a 404."""
    job = results.job(context.engine, job_id) if _ID.fullmatch(job_id) else None
    if job is None:
        raise ProblemError(Kind.NOT_FOUND, "there is no job with this id")
    return job


def known_image(
    context: ContextDep,
    image_id: Annotated[str, Path(description="Id of the image", examples=["0" * 32])],
) -> ImageView:
    """The image of the address, or a 404."""
    view = results.image(context.engine, image_id) if _ID.fullmatch(image_id) else None
    if view is None:
        raise ProblemError(Kind.NOT_FOUND, "there is no image with this id")
    return view


JobDep = Annotated[JobView, Depends(known_job)]
ImageDep = Annotated[ImageView, Depends(known_image)]
