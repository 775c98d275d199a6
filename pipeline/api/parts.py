"""Many instances in one response: multipart/related (RFC 2387) and zip."""

import io
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from uuid import uuid4

from starlette.responses import Response, StreamingResponse

from pipeline.api.acceptable import DICOM, RELATED
from pipeline.context import Context
from pipeline.dicom import results
from pipeline.dicom.results import Result


class ZipResponse(Response):
    """A zip of instances."""

    media_type = "application/zip"


def related(context: Context, found: Sequence[Result]) -> StreamingResponse:
    """The instances one after the other, each made when it is its turn.

    The first is made before the response begins, so that a storage that does not answer is an
    error and no broken body.
    """
    boundary = uuid4().hex
    first = results.make(context, found[0])

    def body() -> Iterator[bytes]:
        head = f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode()
        yield head + first + b"\r\n"
        for result in found[1:]:
            yield head + results.make(context, result) + b"\r\n"
        yield f"--{boundary}--\r\n".encode()

    media_type = f'{RELATED}; type="{DICOM}"; boundary={boundary}'
    return StreamingResponse(body(), media_type=media_type)


def zipped(context: Context, found: Sequence[Result], name: str) -> ZipResponse:
    """The instances as files named by modality and UID, in a zip called `name`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for result in found:
            made_at = datetime.fromtimestamp(result.finished_at, UTC).timetuple()[:6]
            entry = zipfile.ZipInfo(f"{result.modality}-{result.sop_uid}.dcm", made_at)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, results.make(context, result))
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return ZipResponse(file.getvalue(), headers=headers)
