"""What Flower looks at: `celery -A pipeline.embedded.monitor flower`. Runs no task."""

from pipeline import log
from pipeline.dispatch import make_app
from pipeline.settings import settings

log.set_up(as_json=settings().log_json)
app = make_app(settings())
