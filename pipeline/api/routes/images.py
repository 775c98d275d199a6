"""Images: what was said of one, and its pictures."""

from io import BytesIO
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from pipeline.api import present
from pipeline.api.deps import ContextDep, ImageDep
from pipeline.api.problems import Kind, ProblemError, documented
from pipeline.api.schemas import ImagePublic
from pipeline.overlay import overlays
from pipeline.prepared import decode_prepared
from pipeline.storage import ObjectRef, StorageError

router = APIRouter(prefix="/v1/images", tags=["images"])


class PngResponse(Response):
    """A picture."""

    media_type = "image/png"


_PNG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A PNG",
        "content": {
            "image/png": {
                "schema": {"type": "string", "contentMediaType": "image/png"},
                "example": "(bytes of a PNG)",
            }
        },
    }
}
_PICTURE_PROBLEMS = documented(
    Kind.NOT_FOUND,
    Kind.INVALID,
    Kind.INTERNAL,
    Kind.DAMAGED,
    Kind.STORAGE_UNAVAILABLE,
    Kind.DATABASE_UNAVAILABLE,
)


@router.get(
    "/{image_id}",
    response_description="The image",
    responses=documented(Kind.NOT_FOUND, Kind.INTERNAL, Kind.DATABASE_UNAVAILABLE),
)
def get_image(request: Request, view: ImageDep) -> ImagePublic:
    """Everything about one image: state, reason, header facts, and what each stage said."""
    return present.image_public(view, present.links(request))


@router.get(
    "/{image_id}/heatmaps/{label:path}.png",
    response_class=PngResponse,
    responses={**_PNG, **_PICTURE_PROBLEMS},
)
def get_heatmap(
    context: ContextDep,
    view: ImageDep,
    label: Annotated[str, Path(description="Label of the finding", examples=["Effusion"])],
) -> PngResponse:
    """Where a finding was seen: the newest heatmap of a label, laid over the prepared image."""
    refs = (f.heatmap for run in reversed(view.runs) for f in run.findings if f.label == label)
    ref = next((ref for ref in refs if ref is not None), None)
    if ref is None:
        raise ProblemError(Kind.NOT_FOUND, "this image has no heatmap of this label")
    (png,) = overlays(context.store, [(view.row["prepared"], ref)])
    if isinstance(png, StorageError):
        raise png
    return PngResponse(png)


@router.get(
    "/{image_id}/preview.png",
    response_class=PngResponse,
    responses={**_PNG, **_PICTURE_PROBLEMS},
)
def get_preview(
    context: ContextDep,
    view: ImageDep,
    px: Annotated[
        int | None, Query(ge=16, le=2048, description="Longest side at most, for thumbnails")
    ] = None,
) -> PngResponse:
    """The prepared image: what the networks saw."""
    ref = view.row["prepared"]
    if ref is None:
        raise ProblemError(Kind.NOT_FOUND, "this image was not decoded, so there is no preview")
    picture = Image.fromarray(decode_prepared(context.store.get(ObjectRef.parse(ref))))
    if px is not None:
        picture.thumbnail((px, px))
    png = BytesIO()
    picture.save(png, "PNG", compress_level=1)
    return PngResponse(png.getvalue())
