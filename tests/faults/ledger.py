"""The table that `make faults` ends with: one row a fault."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """What became of the images under one fault."""

    fault: str
    accepted: int
    lost: int
    duplicated: int
    quarantined: int
    recovery_s: float


ROWS: list[Row] = []
NOTES: list[str] = []
"""Measurements worth a line below the table."""

HEAD = ("fault", "accepted", "lost", "duplicated", "quarantined", "recovery s")


def table() -> list[str]:
    """The rows so far, as lines of text."""
    cells = [HEAD] + [
        (
            row.fault,
            str(row.accepted),
            str(row.lost),
            str(row.duplicated),
            str(row.quarantined),
            f"{row.recovery_s:.1f}",
        )
        for row in ROWS
    ]
    wide = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    return [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, wide, strict=True))
        )
        for line in cells
    ]
