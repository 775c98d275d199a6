"""Options that several commands have, and the settings that come of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from pipeline.settings import Settings

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="State of the embedded stack.  [default: $XRAYTRIAGE_DATA_DIR or ./xraytriage-data]",
        show_default=False,
        file_okay=False,
    ),
]
DeviceWord = Annotated[
    Literal["auto", "cpu", "cuda"] | None,
    typer.Option(
        "--device",
        help="Where the models run.  [default: $XRAYTRIAGE_DEVICE or auto]",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]

WRONG, USAGE = 1, 2
"""Exit codes: something is wrong; the command was used wrongly. 0 is success."""


def settings_of(data_dir: Path | None, **more: object) -> "Settings":
    """The settings of the environment, with what the command line says in their place."""
    from pydantic import ValidationError

    from pipeline.settings import Settings, in_words

    given = {"data_dir": data_dir, **more}
    try:
        return Settings.model_validate(
            {name: value for name, value in given.items() if value is not None}
        )
    except ValidationError as error:
        raise typer.BadParameter(in_words(error)) from None
