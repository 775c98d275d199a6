"""What holds images up, in words for the person who waits for them."""

from collections.abc import Iterator

from pipeline.context import Context
from pipeline.dispatch import BrokerUnavailable
from pipeline.records import results
from pipeline.states import Priority


def holdups(context: Context) -> Iterator[str]:
    """One sentence for each stage in which images wait, the broker first if it is down."""
    try:
        context.dispatcher.ping()
    except BrokerUnavailable as error:
        yield f"the message broker does not answer ({error}); the work goes on when it is back"
        return
    for stage, (count, age_s) in sorted(results.waiting(context.engine).items()):
        yield _sentence(stage, count, age_s, _messages(context, stage))


def _messages(context: Context, stage: str) -> int:
    try:
        return sum(context.dispatcher.depth(stage, priority) for priority in Priority)
    except BrokerUnavailable:
        return 0


def _sentence(stage: str, count: int, age_s: float, messages: int) -> str:
    waiting = f"{count} images are at stage {stage}, the oldest for {age_s:.0f} s"
    if messages:
        return f"{waiting}, and {messages} messages lie in its queue: is a worker for it running?"
    return f"{waiting}: a worker has them in hand, or the reconciler will send them again"
