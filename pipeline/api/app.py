"""The application: what is opened at its start, what is mounted where, and how it fails."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.staticfiles import StaticFiles

from pipeline import foreseen, log, tracing
from pipeline.api.failures import handlers
from pipeline.api.gauges import Gauges
from pipeline.api.headers import SecurityHeaders
from pipeline.api.openapi import describe, operation_id
from pipeline.api.pages import routes as pages
from pipeline.api.pages.render import STATIC
from pipeline.api.problems import Kind
from pipeline.api.readiness import readiness_of
from pipeline.api.routes import (
    dicom_web,
    dicom_web_search,
    health,
    images,
    jobs,
    metrics,
    stages,
    stow,
)
from pipeline.api.traced import Traced
from pipeline.api.uploads import Gate
from pipeline.context import Context
from pipeline.settings import Settings
from pipeline.settings import settings as settings_of_process

TAGS = [
    {"name": "jobs", "description": "Files in, counts and results out."},
    {"name": "images", "description": "What was said of one image, and its pictures."},
    {"name": "dicomweb", "description": "DICOM in, and results as DICOM out."},
    {"name": "stages", "description": "The models of this installation."},
    {"name": "health", "description": "For orchestrators."},
]


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application for `settings`; without any, for those of this process, whose log it sets."""
    if settings is None:
        settings = settings_of_process()
        log.set_up(as_json=settings.log_json)
    traced = [Middleware(Traced)] if settings.otlp_endpoint else []
    app = FastAPI(
        title="xraytriage",
        version=_version(),
        openapi_tags=TAGS,
        lifespan=_lifespan(settings),
        middleware=[Middleware(SecurityHeaders), *traced],
        exception_handlers=handlers(),
        generate_unique_id_function=operation_id,
        # FastAPI's own pages load scripts from elsewhere; ours are in `pages`.
        docs_url=None,
        redoc_url=None,
    )
    for routed in (jobs, images, stages, health, metrics, stow, dicom_web, dicom_web_search, pages):
        app.include_router(routed.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def _lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        foreseen.anywhere()
        foreseen.problems(kind.slug for kind in Kind)
        tracing.set_up(settings, "api")
        context = Context.open(settings)
        app.state.context = context
        app.state.gate = Gate()
        app.state.readiness = readiness_of(context)
        app.state.gauges = Gauges(context)
        yield
        app.state.readiness.close()
        app.state.gauges.close()
        tracing.shut_down()

    return lifespan


def _version() -> str:
    try:
        return version("xraytriage")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
