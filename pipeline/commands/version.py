"""`xraytriage --version`."""

import typer


def program() -> str:
    """Name and version of this program."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"xraytriage {version('xraytriage')}"
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "xraytriage (not installed)"


def show(wanted: bool) -> None:
    """Print the version and end, where it is wanted."""
    if wanted:
        typer.echo(program())
        raise typer.Exit
