"""What an orchestrator asks: is the process alive, and can it serve?"""

from fastapi import APIRouter
from starlette.requests import Request

from pipeline.api.problems import Kind, ProblemError, documented
from pipeline.api.readiness import Readiness
from pipeline.api.schemas import Alive, Ready

router = APIRouter(tags=["health"])


@router.get("/healthz", response_description="It is alive")
async def healthz(request: Request) -> Alive:
    """The process is alive; says nothing of the servers behind it."""
    return Alive(status="alive", version=request.app.version)


@router.get(
    "/readyz", response_description="Every server answers", responses=documented(Kind.NOT_READY)
)
def readyz(request: Request) -> Ready:
    """Database, storage and broker answer; 503 names the one that does not.

    Without the broker uploads are still taken: what waits is announced when it is back.
    """
    readiness: Readiness = request.app.state.readiness
    checks = readiness.ask()
    silent = [name for name, check in checks.items() if not check.ok]
    if silent:
        detail = "; ".join(f"{name}: {checks[name].why}" for name in silent)
        dumped = {name: check.model_dump() for name, check in checks.items()}
        raise ProblemError(Kind.NOT_READY, detail, checks=dumped)
    return Ready(status="ready", checks=checks)
