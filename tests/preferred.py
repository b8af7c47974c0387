"""Preferences that a rule decides, and a tiny language model of whole words that can learn it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tiny
import tiny_folder

LIKED = "w7"
"""The better answer has this word in it."""


def save(folder: Path) -> Path:
    """A small Llama that reads one token a word, as a folder that `--model` takes."""
    tiny_folder.model(tiny.VOCABULARY).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def answer(rng: np.random.Generator, liked: bool) -> str:
    words = [f"w{i}" for i in rng.integers(10, tiny.VOCABULARY, rng.integers(2, 7))]
    if liked:
        words[rng.integers(len(words))] = LIKED
    return " ".join(words)


def pairs(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows with two to a prompt."""
    rng = np.random.default_rng(seed)
    return [
        {"prompt": f"w{10 + i // 2 % 80} w{11 + i // 160}", "chosen": answer(rng, True)}
        | {"rejected": answer(rng, False)}
        for i in range(n)
    ]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path
