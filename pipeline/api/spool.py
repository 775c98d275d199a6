"""A multipart body on its way to disk: one unnamed file for all parts, whatever their number.

Starlette's own parser keeps up to 1 MB of every part in memory and a file handle for each larger
one, which ten thousand images in a request would multiply. Here memory and handles are constant,
and since the spool has no name, a killed process leaves nothing behind.
"""

import errno
import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import BinaryIO, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from pipeline.api.problems import Kind, ProblemError, field_error
from pipeline.api.slices import Slice
from pipeline.archive import is_zip
from pipeline.ingest import NoRoom
from pipeline.limits import ArchiveLimits
from pipeline.reasons import ReasonCode, Unreadable
from pipeline.settings import Settings
from pipeline.storage import free_bytes

MAX_BODY_BYTES = ArchiveLimits().max_total_bytes
"""Most bytes of one request, and of one zip in it."""
FIELD_BYTES = 1024
"""Most bytes of a text field."""
NAME_CHARACTERS = 1024
"""A longer file name keeps its end."""
WATCH_BYTES = 64 * 2**20
"""The free space of the disk is looked at each time so many bytes were written."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the request: where its bytes lie in the spool, or why they were not kept."""

    name: str
    open: Callable[[], BinaryIO]
    refusal: Unreadable | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """What a request brought."""

    files: tuple[Part, ...]
    fields: dict[str, str]


class Spool:
    """Takes the body block by block; `finish` gives what it held. Close it when all is read."""

    def __init__(self, boundary: bytes, settings: Settings) -> None:
        self._settings = settings
        self._file = TemporaryFile()  # noqa: SIM115 - `close` closes it
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_begin": self._header_begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._whole,
            },
        )
        self._received = self._unwatched = 0
        self._complete = False
        self._files: list[Part] = []
        self._fields: dict[str, str] = {}

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the body. Raises ProblemError and NoRoom."""
        self._received += len(block)
        if self._received > MAX_BODY_BYTES:
            raise ProblemError(Kind.REQUEST_TOO_LARGE)
        try:
            self._parser.write(block)
        except FormParserError as error:
            raise ProblemError(Kind.MALFORMED, f"not a multipart body: {error}") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoRoom(error.strerror) from error
            raise

    def finish(self) -> Form:
        """What the body held. Raises ProblemError where it is cut short."""
        if not self._complete:
            raise ProblemError(Kind.MALFORMED, "the multipart body ends before its last boundary")
        self._file.flush()
        return Form(tuple(self._files), self._fields)

    def fileno(self) -> int:
        """Descriptor of the file behind it all."""
        return self._file.fileno()

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()

    def _begin(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._start = self._file.tell()
        self._head = b""
        self._refusal: Unreadable | None = None

    def _header_begin(self) -> None:
        self._header, self._value = b"", b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._field = _text(options.get(b"name", b""))
        name = options.get(b"filename")
        self._name = None if name is None else _name(name)
        if self._name is None:
            return
        if self._field != "files":
            raise field_error(self._field or "files", "files are sent in the field `files`")
        if len(self._files) >= self._settings.max_request_files:
            raise ProblemError(
                Kind.REQUEST_TOO_LARGE,
                f"more than {self._settings.max_request_files} files in one request",
            )

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name is None:
            self._field_data(data[start:end])
        elif self._refusal is None:
            self._file_data(data[start:end])

    def _field_data(self, data: bytes) -> None:
        self._head += data
        if len(self._head) > FIELD_BYTES:
            raise field_error(self._field, f"longer than {FIELD_BYTES} bytes")

    def _file_data(self, data: bytes) -> None:
        if len(self._head) < 4:
            self._head += data[:4]
        self._file.write(data)
        self._watch_disk(len(data))
        limit = self._limit()
        if self._file.tell() - self._start > limit:
            # The rest of this part is read and dropped: the files beside it are still wanted.
            self._file.seek(self._start)
            self._file.truncate()
            words = f"the file is larger than {limit} bytes"
            self._refusal = Unreadable(ReasonCode.TOO_MANY_BYTES, words)

    def _limit(self) -> int:
        return MAX_BODY_BYTES if is_zip(self._head) else self._settings.max_file_bytes

    def _watch_disk(self, written: int) -> None:
        self._unwatched += written
        if self._unwatched >= WATCH_BYTES:
            self._unwatched = 0
            if free_bytes(Path(gettempdir())) < self._settings.disk_watermark_bytes:
                raise NoRoom("the disk that uploads wait on is almost full")

    def _end(self) -> None:
        length = self._file.tell() - self._start
        if self._name is None:
            self._fields[self._field] = _text(self._head).strip()
        elif self._name or length or self._refusal:  # else an empty file input of a form
            opened = self._opener(self._start, length)
            self._files.append(Part(self._name or "unnamed", opened, self._refusal))

    def _opener(self, start: int, length: int) -> Callable[[], BinaryIO]:
        descriptor = self.fileno()
        return lambda: cast(BinaryIO, BufferedReader(Slice(descriptor, start, length)))

    def _whole(self) -> None:
        self._complete = True


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _name(data: bytes) -> str:
    """A file name fit to be shown and stored: no control characters, not endlessly long."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return _CONTROL.sub("", text).strip()[-NAME_CHARACTERS:]
