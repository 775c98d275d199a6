"""A multipart/related body (RFC 2387) on its way to disk: DICOM files, one a part."""

from typing import Final

from python_multipart.multipart import parse_options_header

from pipeline.api.problems import Kind, ProblemError
from pipeline.api.spool import Part, Spool

_DICOM: Final = b"application/dicom"


class RelatedSpool(Spool):
    """Takes the body block by block; `parts` gives the files that it held."""

    def parts(self) -> tuple[Part, ...]:
        """One for each part. Raises ProblemError where the body is cut short or holds none."""
        found = self.finish().files
        if not found:
            raise ProblemError(Kind.MALFORMED, "the multipart body has no part")
        return found

    def _headers_finished(self) -> None:
        media = self._headers.get(b"content-type", _DICOM)
        if parse_options_header(media)[0] != _DICOM:
            # Metadata and bulk data in parts of their own would have to be put together first.
            raise ProblemError(Kind.UNSUPPORTED_MEDIA_TYPE, "parts are of type application/dicom")
        if len(self._files) >= self._settings.max_request_files:
            limit = self._settings.max_request_files
            raise ProblemError(Kind.REQUEST_TOO_LARGE, f"more than {limit} parts in one request")
        self._name = "instance"

    def _limit(self) -> int:
        # A preamble may make the part look like a zip, which has another limit.
        return self._settings.max_file_bytes
