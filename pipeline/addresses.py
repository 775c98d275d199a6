"""Addresses of servers, checked where they are set: a wrong one is said in words, not in a trace.

Only what no client of the server would understand is refused. The words quote nothing: an address
may hold a password.
"""

from urllib.parse import SplitResult, urlsplit

DATABASES = ("sqlite", "postgresql+psycopg")
REDIS = ("redis", "rediss")
WEB = ("http", "https")


def database(text: str) -> str:
    """An address of SQLAlchemy for which there is a driver. Raises ValueError."""
    scheme, mark, rest = text.partition("://")
    if not mark or scheme not in DATABASES or not rest:
        raise ValueError(
            "is no address of a database; write postgresql+psycopg://USER:PASSWORD@HOST/NAME or "
            "sqlite:////FOLDER/FILE"
        )
    return text


def redis(text: str) -> str:
    """An address of a Redis or Valkey. Raises ValueError."""
    return _checked(text, REDIS, "redis://HOST:6379/0")


def web(text: str) -> str:
    """An address of a server that speaks HTTP. Raises ValueError."""
    return _checked(text, WEB, "http(s)://HOST:PORT")


def _checked(text: str, schemes: tuple[str, ...], form: str) -> str:
    if not _fits(_split(text), schemes):
        raise ValueError(f"is no address of such a server; write {form}")
    return text


def _split(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises where it is no number of a port
    except ValueError:
        return None
    return parts


def _fits(parts: SplitResult | None, schemes: tuple[str, ...]) -> bool:
    return parts is not None and parts.scheme in schemes and bool(parts.hostname)
