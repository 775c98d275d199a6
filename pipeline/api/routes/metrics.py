"""What Prometheus scrapes: counters of this process, and what waits in the whole installation."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from pipeline import metrics
from pipeline.api.gauges import Gauges

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
def scrape(request: Request) -> Response:
    """The text format of Prometheus."""
    gauges: Gauges = request.app.state.gauges
    installation = CollectorRegistry()
    installation.register(gauges)
    text = generate_latest(metrics.REGISTRY) + generate_latest(installation)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
