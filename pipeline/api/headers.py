"""Headers on every response, and the refusal of uploads that another site's page started."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.api.problems import Kind, problem, respond

SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Images and results are of patients: no copy stays in a browser or proxy.
    "Cache-Control": "no-store",
}


class SecurityHeaders:
    """Adds `SECURITY` where a response does not say otherwise."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        # Now, since a mounted application moves its own prefix into the root path.
        defaults = SECURITY | _caching(path_of(scope))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in defaults.items():
                    headers.setdefault(name, value)
            await send(message)

        if _cross_site(scope):
            kind = Kind.CROSS_SITE
            refusal = respond(problem(kind, kind.meaning, Request(scope).url.path), {})
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def path_of(scope: Scope) -> str:
    """The path within the application, which a proxy may serve below a prefix."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _caching(path: str) -> dict[str, str]:
    return {"Cache-Control": "no-cache"} if path.startswith("/static/") else {}


def _cross_site(scope: Scope) -> bool:
    # A server on loopback is reachable by every page that its user visits, and a form post asks
    # no permission. Browsers say where a request comes from; programs send no such header.
    if scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return False
    return Headers(scope=scope).get("sec-fetch-site") == "cross-site"
