"""Requests that bring images become the first span of their traces; see `pipeline.tracing`."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.tracing import Request, serving


class Traced:
    """Notes when a request began, how it was answered, and which images were admitted in it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        request = Request("POST", Headers(scope=scope).get("traceparent"))

        async def noting_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                # The route's pattern: the path itself may hold identifiers of a study.
                route = getattr(scope.get("route"), "path", "")
                request.name = f"POST {route}".rstrip()
            await send(message)

        with serving(request):
            await self._app(scope, receive, noting_send)
