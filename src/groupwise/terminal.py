"""Where everything is printed: one console, so that a line and a moving bar do not overwrite each other."""

from __future__ import annotations

from rich.console import Console

console = Console()
