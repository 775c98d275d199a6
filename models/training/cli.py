"""The command line of the training half."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.spec import WEIGHTS_ROOT
from models.training import readers
from models.training.config import CONFIGS, STAGES, load_config
from models.training.errors import ConfigError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Train, evaluate and calibrate the three classifiers of xraytriage.

    Two commands make a stage: first the shared trunk,

        python -m models.training train joint --data DATA --out runs/joint

    then each stage from it:

        python -m models.training train gate --data DATA --out runs/gate --init runs/joint

    The shipped models took more of them: models/training/configs/shipped/README.md has them all.

    DATA is a manifest (CSV) or a folder in the layout of ChestX-ray14, CheXpert, MURA, or one
    folder per class. A run that was stopped goes on when the same command is given again.
    """,
)
Data = Annotated[Path, typer.Option(help="A manifest CSV, or a folder in a known layout.")]
Out = Annotated[Path, typer.Option(help="Folder for everything that is written.")]
Weights = Annotated[Path, typer.Option(help="Folder with gate/, type/ and chest/.")]


def run() -> None:
    """Read the arguments and do it. Raises TrainingError and ModelError."""
    app(standalone_mode=False)


@app.command()
def train(
    stage: Annotated[str, typer.Argument(help="gate, type, chest, or joint (the shared trunk).")],
    data: Data,
    out: Out,
    config: Annotated[Path | None, typer.Option(help="TOML; the stage's own by default.")] = None,
    init: Annotated[Path | None, typer.Option(help="Start from this finished run.")] = None,
    steps: Annotated[int | None, typer.Option(help="Stop after so many steps (a trial).")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the config's own.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Keep packed images here.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; all by default.")] = None,
    boxes: Annotated[Path | None, typer.Option(help="CSV of boxes to learn from.")] = None,
    tutor: Annotated[
        list[Path] | None,
        typer.Option(metavar="<path>", help="Learn from this finished tutor; repeatable."),
    ] = None,
) -> None:
    """Train a stage; checkpoints, log, plots, and at the end weights with their card.

    Stop it at any time: the same command goes on from the last checkpoint, with the same result.
    """
    from models.training import session

    if stage not in STAGES:
        raise ConfigError(f"no stage '{stage}'; choose {', '.join(STAGES)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = load_config(config or CONFIGS / f"{stage}.toml")
    if chosen.stage != stage:
        raise ConfigError(f"the configuration is for '{chosen.stage}', not for '{stage}'")
    if seed is not None:
        chosen = replace(chosen, seed=seed)
    with _bar(f"train {stage}") as progress:
        session.run(
            session.Plan(
                chosen, out, init, cache or out / "cache", steps, threads, boxes, tuple(tutor or ())
            ),
            readers.read(data),
            progress,
        )


@app.command()
def evaluate(
    manifest: Annotated[Path, typer.Option(help="Labelled images: manifest CSV or folder.")],
    out: Out,
    split: Annotated[str, typer.Option(help="train, val, test, or all.")] = "val",
    weights: Weights = WEIGHTS_ROOT,
    operating_point: Annotated[str | None, typer.Option(help="The cards' default if none.")] = None,
) -> None:
    """Run the three stages as the pipeline does; write report.json, report.md and plots.

    Figures stand beside the all-negative baseline and are given for each data set apart.
    """
    from models.training.evaluate import evaluate as run_evaluation

    records = [r for r in readers.read(manifest) if split in (r.split, "all")]
    with _bar("evaluate") as progress:
        run_evaluation(records, weights, out, progress, operating_point)
    typer.echo(f"{len(records)} images; read {out / 'report.md'}")


@app.command()
def calibrate(
    manifest: Annotated[Path, typer.Option(help="Your own labelled images (same columns).")],
    out: Out,
    stage: Annotated[list[str] | None, typer.Option(help="Repeatable; all if none.")] = None,
    weights: Weights = WEIGHTS_ROOT,
) -> None:
    """Fit temperatures and operating points to your images; write new cards, same weights.

    Point the pipeline at the new folder afterwards. At least 20 images a stage; hundreds, with
    your own mix of normal and abnormal, are better.
    """
    from models.training.calibrate import calibrate as refit_cards

    stages = stage or [name for name in STAGES if name != "joint"]
    for card in refit_cards(readers.read(manifest), weights, out, manifest.stem, stages):
        typer.echo(f"{card.model_version} written to {out / card.stage}")


@app.command()
def pointing(
    manifest: Annotated[Path, typer.Option(help="The images' manifest CSV.")],
    boxes: Annotated[Path, typer.Option(help="CSV: file, finding, x, y, width, height.")],
    out: Out,
    split: Annotated[str, typer.Option(help="train, val, test, or all.")] = "val",
    weights: Weights = WEIGHTS_ROOT,
) -> None:
    """Check the chest heatmaps against boxes: hit rate of the peak, beside chance."""
    from models.training.boxes import read_boxes
    from models.training.pointing import pointing_game

    records = [r for r in readers.read(manifest) if split in (r.split, "all")]
    _write(
        out,
        "pointing.json",
        pointing_game(records, read_boxes(boxes), weights / "chest", manifest.parent),
    )


@app.command()
def baseline(
    data: Data,
    out: Out,
    layers: Annotated[
        bool, typer.Option(help="Instead: chest findings from inner layers of two teachers.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Keep packed images and features here.")
    ] = None,
) -> None:
    """Logistic regression on the teacher's frozen features: what our networks stand beside.

    And what it finds with fewer training images: how much of a gap more data would close.
    """
    from models.training.baseline import layered_probe, linear_probe

    records = readers.read(data)
    probe = layered_probe if layers else linear_probe
    _write(out, "baseline.json", probe(records, cache or out / "cache"))


def _write(out: Path, name: str, found: object) -> None:
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1)
    (out / name).write_text(text + "\n", encoding="utf-8")
    typer.echo(text)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        task = bar.add_task(title, total=None)
        began = time.monotonic()

        def progress(done: int, total: int) -> None:
            rate = done / max(time.monotonic() - began, 1e-6)
            bar.update(task, completed=done, total=total, description=f"{title} {rate:.1f}/s")

        yield progress
