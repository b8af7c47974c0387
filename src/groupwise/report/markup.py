"""Words and numbers as HTML. Every text on the page goes through `esc`: all of it is untrusted."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping
from typing import Any

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
MAX_CHARACTERS = 8000
"""Of one text. The middle is left out: an answer is judged by how it starts and how it ends."""
PREVIEW = 600
"""A longer text is folded to this many characters."""


def esc(value: object) -> str:
    return html.escape(str(value), quote=True)


def fmt(value: float | None, digits: int = 4) -> str:
    """A number to read: few digits, a true minus sign, thousands apart.

    >>> fmt(0.91), fmt(12345.6), fmt(0.00001), fmt(None)
    ('0.91', '12,346', '1e−5', '–')
    """
    if value is None:
        return DASH
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if 1000 <= abs(value) < 1e15:
        return f"{value:,.0f}".replace("-", MINUS)
    text = f"{value:.{digits}g}" if abs(value) >= 1e-3 else f"{value:.3g}"
    return short_exponent(text)


def signed(value: float | None, digits: int = 4) -> str:
    """A difference or an advantage: its sign always shown."""
    text = fmt(value, digits)
    return f"+{text}" if value is not None and value > 0 else text


def counted(count: float, noun: str) -> str:
    return f"{fmt(count)} {noun}{'' if count == 1 else 's'}"


def short_exponent(text: str) -> str:
    """1e-05 -> 1e−5: what a reader needs of it."""
    return re.sub(r"e\+?(-?)0*(\d)", r"e\1\2", text).replace("-", MINUS)


def plain(value: object) -> str:
    """Any JSON value as one readable text."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def prose(text: str) -> str:
    """A model's text: white space kept, folded where long, the middle left out where very long."""
    length, left_out = len(text), len(text) - MAX_CHARACTERS
    if left_out > 0:
        half = MAX_CHARACTERS // 2
        text = f"{text[:half]}\n[… {left_out:,} characters left out …]\n{text[-half:]}"
    if len(text) <= PREVIEW:
        return f'<div class="prose">{esc(text)}</div>'
    return (
        f'<details class="fold"><summary><span class="prose preview">{esc(text[:PREVIEW])}…</span>'
        f'<span class="more">{length:,} characters</span></summary>'
        f'<div class="prose">{esc(text)}</div></details>'
    )


def pairs(values: Mapping[str, Any], limit: int = 300) -> str:
    """Named values in one line, each cut to `limit` characters."""
    items = []
    for name, value in values.items():
        text = fmt(value) if isinstance(value, float) else plain(value)
        text = text if len(text) <= limit else f"{text[:limit]}…"
        items.append(f'<span class="pair"><span class="key">{esc(name)}</span> {esc(text)}</span>')
    return " · ".join(items)


def island(name: str, value: object) -> str:
    """JSON inside the page, in a form that cannot end its own element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{esc(name)}">{text}</script>'
