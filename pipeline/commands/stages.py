"""`xraytriage stages`: the catalogue and the essence of each model card."""

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from pipeline.commands.options import WRONG, DataDir, Json, settings_of

if TYPE_CHECKING:
    from models.card import Label, ModelCard
    from models.spec import StageSpec

ABNORMAL = "abnormal"
"""The label that sums up the findings, where a stage has one."""
NOT_MAIN = {"n", "positives", "confusion"}
BREAKDOWN = re.compile(r"_by_")
SUMMED_UP = ("auc", "auc_ci95", "balanced_accuracy")
"""What is shown of it."""


def stages(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show each stage: when it runs, what it says, how well, and with which weights.

    Further stages come from the file that XRAYTRIAGE_CATALOGUE names.

    \b
    Examples:
      xraytriage stages
      xraytriage stages --json | jq '.[] | {name, version, sha256}'

    Exit code: 0 when stages and weights fit together, 1 when not, 2 for wrong usage.
    """
    from models.artifact import load_card
    from models.catalogue import load_catalogue
    from models.errors import ModelError

    is_whole, found = True, []
    try:
        for spec in load_catalogue(settings_of(data_dir).catalogue):
            try:
                found.append(_stage(spec, load_card(spec.weights_dir)))
            except ModelError as error:
                is_whole = False
                found.append(_wiring(spec) | {"error": str(error)})
    except ModelError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(WRONG) from None
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        typer.echo("\n\n".join(_text(stage) for stage in found))
    raise typer.Exit(0 if is_whole else WRONG)


def _wiring(spec: "StageSpec") -> dict[str, Any]:
    return {
        "name": spec.name,
        "after": spec.after,
        "on": spec.on,
        "refuses": dict(spec.refuses),
        "weights_dir": str(spec.weights_dir),
    }


def _stage(spec: "StageSpec", card: "ModelCard") -> dict[str, Any]:
    return {
        **_wiring(spec),
        "version": card.model_version,
        "architecture": card.architecture,
        "input_px": card.input_px,
        "labels": [_label(label) for label in card.labels],
        "operating_points": list(card.operating_points),
        "default_operating_point": card.default_operating_point,
        "metrics": card.metrics,
        "sha256": card.weights.sha256,
        "bytes": card.weights.bytes,
        "known_failures": list(card.known_failures),
        "intended_use": card.intended_use,
        "disclaimer": card.disclaimer,
    }


def _label(label: "Label") -> dict[str, Any]:
    return {
        "name": label.name,
        "experimental": label.experimental,
        "operating_points": {
            name: point.model_dump() for name, point in label.operating_points.items()
        },
        "metrics": label.metrics,
    }


def _text(stage: dict[str, Any]) -> str:
    when = f"after {stage['after']} = {stage['on']}" if stage["after"] else "first"
    if "error" in stage:
        return f"{stage['name']}  ({when})\n  BAD  {stage['error']}"
    size = f"{stage['input_px']} px, {stage['bytes'] / 2**20:.1f} MiB"
    lines = [
        f"{stage['name']}  ({when})  {stage['version']}",
        f"  {stage['architecture']}, {size}, sha256 {stage['sha256']}",
        *_figures(stage["metrics"]),
        *_label_lines(stage),
        f"  {stage['disclaimer']}",
    ]
    return "\n".join(lines)


def _figures(facts: dict[str, Any], above: str = "") -> Iterator[str]:
    """The main figures of a card; those of single labels, classes and data sets stay in it."""
    for name, value in facts.items():
        words = f"{above}{name.replace('_', ' ')}"
        if name in NOT_MAIN or name.endswith("_ci95") or BREAKDOWN.search(name):
            continue
        if name == "labels":
            summed_up = value.get(ABNORMAL, {})
            main = {name: summed_up[name] for name in SUMMED_UP if name in summed_up}
            yield from _figures(main, f"{above}{ABNORMAL} ")
        elif isinstance(value, dict) and "value" not in value:
            yield from _figures(value, f"{words} ")
        elif isinstance(value, dict):
            yield _figure(words, value["value"], value.get("ci95"))
        elif isinstance(value, int | float):
            yield _figure(words, value, facts.get(f"{name}_ci95"))


def _figure(words: str, value: float, interval: list[float] | None) -> str:
    within = f"  (95 % interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    return f"  {words:<40} {value:.3f}{within}"


def _label_lines(stage: dict[str, Any]) -> list[str]:
    at = stage["default_operating_point"]
    lines, plain = [], []
    for label in stage["labels"]:
        name = label["name"] + (" (experimental)" if label["experimental"] else "")
        point = label["operating_points"].get(at)
        if point is None:
            plain.append(name)
            continue
        figures = [f"threshold {point['threshold']:.3f}"]
        figures += [
            f"{measure} {point[measure]:.2f}"
            for measure in ("sensitivity", "specificity")
            if point[measure] is not None
        ]
        lines.append(f"    {name:<38} {', '.join(figures)}")
    if lines:
        others = ", ".join(name for name in stage["operating_points"] if name != at)
        more = f" (there is {others} too)" if others else ""
        lines.insert(0, f"  labels at operating point {at}{more}:")
    return [f"  labels: {', '.join(plain)}", *lines] if plain else lines
