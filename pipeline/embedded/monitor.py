"""What Flower looks at: `celery -A pipeline.embedded.monitor flower`. Runs no task."""

from pipeline.dispatch import make_app
from pipeline.settings import settings

app = make_app(settings())
