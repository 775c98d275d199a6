"""MODEL_CARD.md: the card in words and tables, for people (Mitchell et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from models.card import Label, ModelCard, UnknownRule

PEOPLE_FILE = "MODEL_CARD.md"


def as_markdown(card: ModelCard) -> str:
    """The text of MODEL_CARD.md for a card."""
    parts = [
        f"# {card.model_version}",
        f"**{card.disclaimer}**",
        f"Intended use: {card.intended_use}",
        _facts(card),
        "## Labels and operating points",
        _labels(card),
        "## Measured on validation data",
        "Read each data set apart. An accuracy means something only beside its baseline.",
        metrics_markdown(card.metrics.get("val", {})),
        "## Known failures",
        "\n".join(f"- {failure}" for failure in card.known_failures),
        "## Training",
        str(card.training.get("recipe", "")),
        _data(card),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; None is shown as a dash."""
    names = list(head)
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(shown(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def shown(value: object) -> str:
    """A cell: numbers with three decimals, None as a dash."""
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def interval(value: object, bounds: object) -> str:
    """'0.912 (0.880-0.940)'."""
    if value is None or not isinstance(bounds, (list, tuple)):
        return shown(value)
    return f"{shown(value)} ({shown(bounds[0])}-{shown(bounds[1])})"


def _facts(card: ModelCard) -> str:
    rows = [
        ("Architecture", f"{card.architecture}, {card.channels} channel(s)"),
        ("Input", f"{card.input_px} px square, (pixel / 255 - {card.mean}) / {card.std}"),
        ("Output", f"{card.activation} over {len(card.labels)} labels"),
        ("Default operating point", card.default_operating_point),
        ("Weights", f"{card.weights.file}, {card.weights.dtype}, {card.weights.bytes} bytes"),
        ("sha256", f"`{card.weights.sha256}`"),
    ]
    if card.unknown is not None:
        rows.append(("Answers 'unknown'", _unknown(card.unknown)))
    return table(("Fact", "Value"), rows)


def _unknown(rule: UnknownRule) -> str:
    kept = "" if rule.kept is None else f"; {rule.kept:.1%} of the calibration images are above"
    return f"when the best score is under {rule.threshold}{kept}"


def _labels(card: ModelCard) -> str:
    return (
        table(
            (
                "Label",
                "Temperature",
                "Bias",
                "Train prevalence",
                "Sensitive",
                "Balanced",
                "Specific",
            ),
            [
                (
                    label.name + (" (experimental)" if label.experimental else ""),
                    label.temperature,
                    label.bias,
                    label.prevalence_train,
                    *(_point(label, name) for name in ("sensitive", "balanced", "specific")),
                )
                for label in card.labels
            ],
        )
        + "\n\nA point reads: threshold (sensitivity / specificity there)."
    )


def _point(label: Label, name: str) -> str | None:
    point = label.operating_points.get(name)
    if point is None:
        return None
    return f"{shown(point.threshold)} ({shown(point.sensitivity)} / {shown(point.specificity)})"


def metrics_markdown(found: Any) -> str:
    """Tables of a stage's figures (:mod:`models.training.figures`)."""
    if not isinstance(found, Mapping) or not found:
        return "Nothing measured yet."
    if "balanced_accuracy" in found or "macro_recall" in found:
        return _softmax_metrics(found)
    return "\n\n".join(_chest_metrics(name, group) for name, group in found.items())


def _softmax_metrics(found: Mapping[str, Any]) -> str:
    main = [
        (name.replace("_", " "), interval(v.get("value"), v.get("ci95")))
        if isinstance(v, Mapping)
        else (name.replace("_", " "), shown(v))
        for name, v in found.items()
        if not isinstance(v, Mapping) or "value" in v
    ]
    parts = [table(("Figure", "Value (95 % interval)"), main)]
    for name, group in found.items():
        if isinstance(group, Mapping) and "value" not in group and name != "confusion":
            rows = [(k, v["n"], interval(v["value"], v["ci95"])) for k, v in group.items()]
            parts.append(table((name.replace("_", " "), "n", "Value (95 % interval)"), rows))
    return "\n\n".join(parts)


def _chest_metrics(name: str, group: Mapping[str, Any]) -> str:
    rows = [
        (
            label,
            v["n"],
            v["positives"],
            interval(v.get("auc"), v.get("auc_ci95")),
            v.get("accuracy"),
            v.get("all_negative_accuracy"),
            v.get("sensitivity"),
            v.get("specificity"),
            v.get("calibration_error"),
        )
        for label, v in {
            **group["labels"],
            **{f"abnormal, {s}": v for s, v in group.get("abnormal_by_source", {}).items()},
        }.items()
        if v["n"]
    ]
    head = (
        "Label",
        "n",
        "Positives",
        "AUC (95 %)",
        "Accuracy",
        "All-negative accuracy",
        "Sensitivity",
        "Specificity",
        "ECE",
    )
    means = "; ".join(
        f"{k.removeprefix('mean_auc_').replace('_', ' ')} or more: {shown(v)}"
        for k, v in group.items()
        if k.startswith("mean_auc")
    )
    return f"### {name}\n\n{table(head, rows)}\n\nMean AUC of the labels with {means}."


def _data(card: ModelCard) -> str:
    data = card.training.get("data", [])
    rows = data if isinstance(data, list) else []
    return table(
        ("Data set", "Licence", "Train", "Validation"),
        [
            (r["dataset"], r["license"], r["train_images"], r["val_images"])
            for r in rows
            if isinstance(r, dict)
        ],
    )
