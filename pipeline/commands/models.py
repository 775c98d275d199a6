"""`xraytriage models`: bring your own weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.commands.options import WRONG

if TYPE_CHECKING:
    from models.card import ModelCard
    from models.imports import InputFacts

models = typer.Typer(no_args_is_help=True, help="Bring your own weights.")


Weights = Annotated[
    Path,
    typer.Argument(exists=True, dir_okay=False, help="A state dict (torch.save) or safetensors."),
]
Stage = Annotated[str, typer.Option(help="The stage these weights are for.")]
Out = Annotated[Path, typer.Option(file_okay=False, help="A new folder for the model.")]
Kind = Annotated[
    Literal["torchvision", "torchxrayvision"], typer.Option(help="Whose DenseNet-121 it is.")
]
Labels = Annotated[
    str | None,
    typer.Option(help="What the outputs mean, in order: a,b,c. An empty name drops one."),
]
Activation = Annotated[
    Literal["sigmoid", "softmax"],
    typer.Option(help="sigmoid: any number of labels at once; softmax: one of them."),
]
InputPx = Annotated[int, typer.Option(help="Side of the input (torchvision).", min=32)]
Mean = Annotated[
    float | None, typer.Option(help="Pixels become (pixel/255 - mean)/std (torchvision).")
]
Std = Annotated[float | None, typer.Option(help="See --mean.")]
Version = Annotated[str, typer.Option(help="Semantic version of these weights.")]


@models.callback()
def _group() -> None:
    """Keeps `import` a subcommand while it is the only one."""


@models.command("import", short_help="Register weights as a version of a stage.")
def import_(
    weights: Weights,
    stage: Stage,
    out: Out,
    kind: Kind = "torchvision",
    labels: Labels = None,
    activation: Activation = "sigmoid",
    input_px: InputPx = 224,
    mean: Mean = None,
    std: Std = None,
    version: Version = "1.0.0",
) -> None:
    """Register DenseNet-121 weights that you have as a new version of a stage.

    Nothing is unpickled that could run code; the network is run once before it is accepted. The
    thresholds are 0.5 and measured by nobody: fit them to your own images with
    `python -m models.training calibrate`.

    \b
    Examples:
      xraytriage models import xrv-all.pt --kind torchxrayvision --stage chest --out my/chest
      xraytriage models import hand.pt --stage hand --labels intact,fracture --out my/hand

    Exit code: 0 registered, 1 not possible (the message says why), 2 for wrong usage.
    """
    from models.imports import register

    with _explained():
        card = register(
            weights,
            kind=kind,
            stage=stage,
            out_dir=out,
            labels=None if labels is None else [name.strip() for name in labels.split(",")],
            activation=activation,
            inputs=_inputs(input_px, mean, std),
            version=version,
        )
    _explain(card, out)


@contextmanager
def _explained() -> Iterator[None]:
    """Weights that can't be used end the command with the reason instead of a traceback."""
    from models.errors import ImportWeightsError

    try:
        yield
    except ImportWeightsError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(WRONG) from None


def _inputs(input_px: int, mean: float | None, std: float | None) -> "InputFacts | None":
    from models.imports import InputFacts

    if (mean is None) != (std is None):
        raise typer.BadParameter("--mean and --std belong together")
    return None if mean is None or std is None else InputFacts(input_px, mean, std)


def _explain(card: "ModelCard", out: Path) -> None:
    from models.catalogue import STAGES

    if any(stage.name == card.stage for stage in STAGES):
        entry = f'[weights]\n{card.stage} = "{out.resolve()}"'
    else:
        entry = (
            f'[[stage]]\nname = "{card.stage}"\nafter = "type"\non = "{card.stage}"\n'
            f'weights = "{out.resolve()}"'
        )
    typer.echo(f"Registered {card.model_version} with {len(card.labels)} labels in {out}.")
    typer.echo("\nTo use it, put this into a catalogue file and name that file in")
    typer.echo("XRAYTRIAGE_CATALOGUE, then restart the workers:\n")
    typer.echo(entry)
