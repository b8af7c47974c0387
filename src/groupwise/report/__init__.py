"""A run folder -> one self-contained HTML page that can be mailed, archived and read offline.

Everything comes from the files of the folder, never from memory: a report can be made of a run that
is still going, was interrupted, or was made by somebody else.
"""

from __future__ import annotations

from pathlib import Path

from groupwise.report.files import read
from groupwise.report.page import page

__all__ = ["write"]


def write(folder: Path) -> Path:
    """Write `report.html` into the run folder and return its path.

    Raises FileNotFoundError where the folder holds no run.json; anything else that is missing or cut
    short is named on the page instead.
    """
    path = folder / "report.html"
    # Text of a model may hold lone surrogates, which no encoding takes: they become question marks.
    path.write_bytes(page(read(folder)).encode("utf-8", "replace"))
    return path
