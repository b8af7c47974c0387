"""Rows of preferences, checked: which of several answers to one prompt is better.

    {"chosen": "...", "rejected": "..."}                        whole dialogues, as in HH-RLHF
    {"prompt": "...", "chosen": "...", "rejected": "..."}       answers to a prompt, text or messages
    {"prompt": "...", "ranking": ["best", ["tied", "tied"], "worst"]}

A pair may have a `margin`. Chat messages may stand wherever a text may.

Messages that begin with the prompt's own are whole dialogues, and the prompt is not said twice.

Rules: a pair of equal sides, a ranking with all answers tied, and one with an answer in two places say
nothing or contradict themselves: they are left out and counted. Equal answers within a tie are one. Rows
that contradict each other are kept: people do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from groupwise.preferences.losses import Order
from groupwise.reward_models.dialogue import Dialogue
from groupwise.tasks.data import DataError, hold_out, read_rows

SHAPE = 'Write {"prompt", "chosen", "rejected"} or {"prompt", "ranking": [best, ..., worst]}.'
DIALOGUE = Dialogue()


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one row says."""

    texts: tuple[str, ...]
    """Whole dialogues, the best first."""
    order: Order
    opening: str
    """How the dialogue begins: rows that share it are held out together."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """A file of them."""

    comparisons: list[Comparison]
    excluded: Counter[str]
    """Rows that say nothing, by reason."""
    bare: int
    """Comparisons whose texts are no dialogues: the assistant does not speak in them."""


def read(source: str) -> Preferences:
    """The comparisons of a file or hub data set.

    Raises:
        DataError: names the first row at fault; rows count from 1.
    """
    rows = read_rows(source)
    found: list[Comparison] = []
    excluded: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        try:
            one = comparison(row)
        except ValueError as error:
            raise DataError(f"{source}, row {number}: {error}") from error
        if isinstance(one, str):
            excluded[one] += 1
        else:
            found.append(one)
    if not found:
        raise DataError(f"{source}: of {len(rows)} rows none can be learned from: {dict(excluded)}.")
    bare = sum(not DIALOGUE.answered(c.texts[0]) for c in found)
    return Preferences(found, excluded, bare)


def comparison(row: Mapping[str, Any]) -> Comparison | str:
    """A row's comparison, or why it says nothing.

    Raises:
        ValueError: it is no row of preferences.
    """
    row = {name: value for name, value in row.items() if value is not None}
    blocks, margin = _blocks(row), _margin(row)
    prompt = row.get("prompt")
    rendered = [list(dict.fromkeys(_text(prompt, answer) for answer in block)) for block in blocks]
    texts = [text for block in rendered for text in block]
    if len(set(texts)) < len(texts):
        return "an answer in two places" if "ranking" in row else "equal sides"
    if len(rendered) < 2:
        return "all answers tied"
    return Comparison(
        tuple(texts), Order(tuple(len(b) for b in rendered), margin), DIALOGUE.opening(texts[0])
    )


def split(comparisons: Sequence[Comparison], n: int, seed: int) -> tuple[list[Comparison], list[Comparison]]:
    """(train, held out): n comparisons held out, a fifth at most.

    Those that open alike are on the same side: the same prompt, and other turns of the same conversation.

    Raises:
        DataError: they all open alike.
    """
    openings = {c.opening for c in comparisons}
    if len(openings) < 2:
        raise DataError(
            f"{len(comparisons)} comparisons with {len(openings)} distinct prompt: what is learned cannot "
            "be tested on others. Give comparisons for 2 prompts or more."
        )
    rows = [{"prompt": c.opening, "comparison": c} for c in comparisons]
    train, kept = hold_out(rows, n, seed)
    return [row["comparison"] for row in train], [row["comparison"] for row in kept]


def drawn(comparisons: Sequence[Comparison], n: int, seed: int) -> list[Comparison]:
    """n of them by chance, or all."""
    order = np.random.default_rng([seed, len(comparisons)]).permutation(len(comparisons))
    return [comparisons[i] for i in order[:n]]


# ---------------------------------------------------------------------------- what a row must be


def _blocks(row: Mapping[str, Any]) -> list[list[Any]]:
    """The answers as they stand, the best first, tied ones together."""
    pair = [name for name in ("chosen", "rejected") if name in row]
    if "ranking" in row:
        if pair:
            raise ValueError(f"it has a ranking and {pair[0]}: a row is one or the other. {SHAPE}")
        if "prompt" not in row:
            raise ValueError(f"it has a ranking without a prompt. {SHAPE}")
        ranking = row["ranking"]
        places = ranking if isinstance(ranking, list) else []
        blocks = [place if _is_tie(place) else [place] for place in places]
        if sum(map(len, blocks)) < 2:
            raise ValueError(f"its ranking is {_short(ranking)}: list 2 answers or more, the best first.")
        if any(not block for block in blocks):
            raise ValueError("its ranking has an empty place in it.")
        return blocks
    if len(pair) < 2:
        there = ", ".join(map(str, row)) or "no columns"
        raise ValueError(f"it has {there}, and no {'chosen' if 'chosen' not in row else 'rejected'}. {SHAPE}")
    return [[row["chosen"]], [row["rejected"]]]


def _is_tie(place: Any) -> bool:
    """A list is several answers, unless it is one answer's messages."""
    return isinstance(place, list) and not (place and all(isinstance(m, dict) for m in place))


def _margin(row: Mapping[str, Any]) -> float:
    margin = row.get("margin", 0.0)
    if "margin" in row and "ranking" in row:
        raise ValueError("it has a margin, which is for pairs. Take it off the ranking.")
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not math.isfinite(margin):
        raise ValueError(f"its margin is {_short(margin)}: a number is needed, in nats.")
    if margin < 0:
        raise ValueError(f"its margin is {margin:g}: 0 or more. Swap the sides if the rejected is better.")
    return float(margin)


def _text(prompt: Any, answer: Any) -> str:
    """One whole dialogue, without white space at its end."""
    before = None if prompt is None else _said(prompt)
    if isinstance(answer, list):
        turns = [{"role": "user", "content": before}] if isinstance(before, str) else before or []
        said = _said(answer)
        return DIALOGUE.turns(said if said[: len(turns)] == turns else [*turns, *said])
    if before is None:
        return _said(answer).rstrip()
    if not isinstance(answer, str):
        raise ValueError(f"one of its answers is {_short(answer)}: a text or chat messages are needed.")
    return DIALOGUE.text(before, _encodable(answer))


def _said(value: Any) -> Any:
    """A text with something in it, or messages, once it is known to be so."""
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("one of its texts is empty. Fill it, or leave the row away.")
        return _encodable(value)
    if not isinstance(value, list) or not value or not all(map(_is_message, value)):
        shape = '[{"role": "user", "content": "..."}]'
        raise ValueError(f"it has {_short(value)} where a text or messages {shape} are needed.")
    for message in value:
        _encodable(message["content"])
    return value


def _is_message(value: Any) -> bool:
    found = isinstance(value, dict) and isinstance(value.get("role"), str)
    return found and isinstance(value.get("content"), str)


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"one of its texts has half a surrogate pair at character {error.start + 1}, which no tokenizer "
            "reads."
        ) from error
    return text


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."
