"""The tables of docs/scaling.md, and the places in it that they fill."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tests.benchmarks import scaling_paper as paper

MARK = "<!-- {name}: made by `make scaling` -->"
END = "<!-- end of {name} -->"
Found = Mapping[str, Any]


def filled(page: str, found: Found) -> str:
    """The page with each of its tables made anew. Raises ValueError where a place is missing."""
    for name, make in TABLES.items():
        begin, end = MARK.format(name=name), END.format(name=name)
        place = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        lines = "\n".join((begin, "", *make(found), "", end))
        page, times = place.subn(lambda _, lines=lines: lines, page)  # type: ignore[misc]
        if times != 1:
            raise ValueError(f"there must be one place for the table {name}, not {times}")
    return page


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    line = "|".join(["---"] + ["---:"] * (len(head) - 1))
    body = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{line}|", *body]


def _number(number: float) -> str:
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.3g}"


def _run(found: Found) -> list[str]:
    ended = ", ".join(f"{count} {state}" for state, count in found["ended"].items())
    rows = {
        "machine": found["machine"],
        "load before the run": _number(found["load_before"]),
        "images of each run": f"{found['images']}, 1024 px JPEG; ended: {ended}",
        "date": found["date"],
    }
    return _table(("the run", ""), rows.items())


def _stages(found: Found) -> list[str]:
    ours = {"ingest (the door)": found["ingest_cpu_s"], **found["stage_cpu_s"]}
    rows = [(name, _number(1000.0 * used), _number(1.0 / used)) for name, used in ours.items()]
    total = sum(ours.values())
    rows.append(("**ours together**", _number(1000.0 * total), _number(1.0 / total)))
    for name, used in found["cpu_s"].items():
        rows.append((f"server: {name}", _number(1000.0 * used), _number(1.0 / used)))
    return _table(("part", "CPU ms an image", "images/s of one core"), rows)


def _growth(found: Found) -> list[str]:
    one = found["images_per_s_1"]
    rows = [("1 each, all on one core", _number(one), "1")]
    if "images_per_s_2" in found:
        two = found["images_per_s_2"]
        rows.append(("2 each, on one core each", _number(two), f"{two / one:.2f}"))
    return _table(("processes for the four stages", "images/s", "growth"), rows)


def _each(found: Found) -> list[str]:
    counts = {
        "broker: messages": found["broker_messages"],
        "broker: all commands": found["broker_commands"],
        "database: rows written": found["row_writes"],
        "database: commits": found["commits"],
        "database: log, bytes": found["wal_bytes"],
        **{f"storage: {kind}": many for kind, many in found["s3_requests"].items()},
    }
    rows = [
        (name, _number(each), _number(each * paper.MILLION))
        for name, each in counts.items()
        if each > 0
    ]
    return _table(("what is counted", "an image", "a million images"), rows)


def _size(found: Found) -> list[str]:
    many = found["counted_images"]
    objects = found["objects"].items()
    sizes = {f"storage: {kind}": told["bytes"] / many for kind, told in sorted(objects)}
    sizes |= {f"database: {name}": size for name, size in found["database_bytes"].items()}
    for chunk, size in found["broker_bytes"].items():
        sizes[f"broker: waiting, {chunk} in a message"] = size
    rows = [
        (name, _number(size), _number(size * paper.MILLION / paper.GB))
        for name, size in sizes.items()
    ]
    return _table(("what takes room", "bytes an image", "GB a million images"), rows)


def _gpus(found: Found) -> list[str]:
    one = paper.gpu_images_per_s()
    few, many = paper.demands(found, one), paper.demands(found, one * paper.GPUS)
    rows = [
        (name, unit, _number(number), _number(many[name][0]))
        for name, (number, unit) in few.items()
    ]
    return _table(("demand", "unit", "1 GPU", f"{paper.GPUS} GPUs"), rows)


def _limits(found: Found) -> list[str]:
    one = paper.gpu_images_per_s()
    rows = [
        (end.what, _number(end.images_per_s), _number(end.images_per_s / one), end.remedy)
        for end in paper.limits(found)
    ]
    return _table(
        ("what gives way, first first", "at images/s", "at GPUs", "what to do then"), rows
    )


def _bill(found: Found, *, gpu: bool) -> list[str]:
    bill = paper.costs(found, gpu=gpu)
    rows = [(cost.what, cost.arithmetic, f"{cost.dollars:,.2f}") for cost in bill]
    rows.append(("**together**", "", f"**{sum(cost.dollars for cost in bill):,.2f}**"))
    return _table(("a million images", "arithmetic", "$"), rows)


def _assumed(_: Found) -> list[str]:
    rows = [(a.what, f"{a.value:,g} {a.unit}".strip(), a.source) for a in paper.ASSUMED.values()]
    return _table(("assumed, not measured", "value", "source"), rows)


TABLES: dict[str, Callable[[Found], list[str]]] = {
    "run": _run,
    "stages": _stages,
    "growth": _growth,
    "counts": _each,
    "size": _size,
    "gpus": _gpus,
    "limits": _limits,
    "bill-gpu": lambda found: _bill(found, gpu=True),
    "bill-cpu": lambda found: _bill(found, gpu=False),
    "assumed": _assumed,
}
