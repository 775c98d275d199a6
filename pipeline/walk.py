"""Files below some folders, one by one: in a fixed order, each once, in little memory.

Memory grows with the largest single folder and with the number of folders, never with the number
of files. Nothing that goes wrong ends the walk: a path that cannot be read comes out with its
reason, so that it gets its row.
"""
# Paths stay the text that was given; `Path` would drop `./` and keep `..`.
# ruff: noqa: PTH100, PTH112, PTH114, PTH116, PTH118

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.reasons import ReasonCode, Unreadable

_NOT_SHOWN = re.compile(r"[\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SPELLED = re.compile(rb"\\(?:(\\)|x([0-9a-f]{2}))")
ZIP_TAIL_BYTES = 2**16 + 22
"""The longest comment of a zip, and the record before it that counts the members."""


_Seen = dict[tuple[int, int], str | None]
"""Identity of a folder -> the key of the path by which it was walked; None: it is left out."""


@dataclass(frozen=True, slots=True)
class Found:
    """One path of the walk: a file, or what cannot be read and why."""

    path: str
    refusal: Unreadable | None = None

    @property
    def name(self) -> str:
        """The path as it is shown and written: see `spelled`."""
        return spelled(self.path)

    @property
    def key(self) -> str:
        """What makes the path one and the same however it was given: spelled, absolute."""
        return spelled(os.path.abspath(self.path))

    def open(self) -> BinaryIO:
        """The file's bytes. Raises OSError, also where the path is no file any more."""
        # Without O_NONBLOCK, a pipe that took the file's place would hang the run for ever.
        handle = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        file = os.fdopen(handle, "rb")
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            file.close()
            raise OSError(None, "not a file any more")
        return file


def walk(roots: Iterable[str], skip: Iterable[str] = ()) -> Iterator[Found]:
    """All files at and below `roots`, without the folders `skip` and what lies in them.

    Files that are roots come first, then each folder with its entries ordered by their bytes.
    Symbolic links are followed; a folder reached a second time, by a loop or on a second way,
    comes out as one path with its reason, and what lies in it does not come again.
    """
    roots = list(roots)
    seen: _Seen = {identity: None for folder in skip if (identity := _identity(folder)) is not None}
    # A file that was given by name and lies in a given folder too is one file.
    folders = dict.fromkeys(root for root in roots if os.path.isdir(root))
    files = {Found(root).key: root for root in roots if root not in folders}
    yield from (_look(root) for root in files.values())
    for folder in folders:
        below = _below(folder, seen)
        yield from (found for found in below if not files or found.key not in files)


def spelled(path: str) -> str:
    r"""A path as printable text that can be turned back: `\\` is a backslash, `\xNN` a byte.

    The bytes so written are those that are no UTF-8 and the control characters; a name with a
    line break or a terminal's escape code stays one harmless line.
    """
    return _NOT_SHOWN.sub(_spell, path)


def unspelled(text: str) -> str:
    """The path that `spelled` wrote as `text`."""
    raw = _SPELLED.sub(lambda hit: hit[1] or bytes.fromhex(hit[2].decode()), os.fsencode(text))
    return os.fsdecode(raw)


def member_count(path: str) -> int:
    """Files in a zip, by what its end says of itself; 1 for anything that is no zip.

    For a progress bar only: cheap, and wrong for a zip that lies or has over 65,534 members.
    """
    if not path.lower().endswith(".zip"):
        return 1
    try:
        with Found(path).open() as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - ZIP_TAIL_BYTES))
            tail = file.read()
    except OSError:
        return 1
    end = tail.rfind(b"PK\x05\x06")
    return max(1, int.from_bytes(tail[end + 10 : end + 12], "little")) if end >= 0 else 1


def _below(root: str, seen: _Seen) -> Iterator[Found]:
    # A stack of listings instead of recursion: trees may be deeper than Python's stack.
    listings = [_entries(root, seen)]
    while listings:
        for entry in listings[-1]:
            if isinstance(entry, Found):
                yield entry
            else:
                listings.append(_entries(entry, seen))
                break
        else:
            listings.pop()


def _entries(folder: str, seen: _Seen) -> Iterator[Found | str]:
    """What lies in a folder: what was found, and the path of each folder in it."""
    identity = _identity(folder)
    key = Found(folder).key
    if identity in seen:
        # A folder given twice, or below another one that was given, is no second way to it.
        if seen[identity] not in (None, key):
            yield Found(folder, Unreadable(ReasonCode.NOT_A_FILE, _again(folder)))
        return
    if identity is not None:
        seen[identity] = key
    try:
        with os.scandir(folder) as listing:
            # The kind comes with the listing: no further call for a plain file.
            names = [(entry.name, entry.is_file(follow_symlinks=False)) for entry in listing]
    except OSError as error:
        yield _refused(folder, error)
        return
    names.sort(key=lambda entry: os.fsencode(entry[0]))
    for name, is_plain_file in names:
        path = os.path.join(folder, name)
        if not is_plain_file and os.path.isdir(path):
            yield path
        else:
            yield Found(path) if is_plain_file else _look(path)


def _look(path: str) -> Found:
    """A path that is no folder, with its reason where it is no file either."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return _refused(path, error)
    if stat.S_ISREG(mode):
        return Found(path)
    return Found(path, Unreadable(ReasonCode.NOT_A_FILE, f"the path is a {_kind(mode)}"))


def _refused(path: str, error: OSError) -> Found:
    words = error.strerror or type(error).__name__
    if os.path.islink(path):
        words = f"the link leads nowhere: {words}"
    return Found(path, Unreadable(ReasonCode.UNREADABLE_PATH, words))


def _again(folder: str) -> str:
    if os.path.islink(folder):
        return "the link leads to a folder that was walked already"
    return "the folder was walked already, by a link that leads to it"


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFIFO: "pipe",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
    }
    return kinds.get(stat.S_IFMT(mode), "thing that is not a file")


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _spell(hit: re.Match[str]) -> str:
    if hit[0] == "\\":
        return "\\\\"
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(hit[0]))
