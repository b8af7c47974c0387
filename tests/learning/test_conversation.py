"""A small language model learns what to say to what it was told in the middle of a conversation."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from rich.console import Console

import tiny_folder
from groupwise.config import build
from groupwise.settings import Settings
from groupwise.trainer import train

DIGITS = "0123456789"
TELLS = '''
class Tells:
    """Whatever is said first, it tells a digit; a point for saying it back."""
    def reset(self, row):
        self.digit, self.turn = str(row["seed"] % 5), 0
        return "x"

    def step(self, message):
        self.turn += 1
        if self.turn == 1:
            return self.digit + "=", None, False
        return None, float(message[:1] == self.digit), True
'''


@pytest.mark.learning
@pytest.mark.slow
def test_a_random_model_learns_to_say_back_what_it_heard(tmp_path: Path) -> None:
    """The opening tells nothing: what is learnt is read in the second turn, from the memory of the first."""
    words = tiny_folder.tokenizer(DIGITS + "=xyz")
    tiny_folder.model(len(words), hidden=48).save_pretrained(tmp_path / "model")
    words.save_pretrained(tmp_path / "model")
    (tmp_path / "tells.py").write_text(TELLS)
    settings = Settings(
        task=f"env:{tmp_path}/tells.py:Tells", model=str(tmp_path / "model"), stop=tuple(DIGITS + "=xyz"),
        steps=140, prompts=8, group_size=16, max_new_tokens=4, learning_rate=5e-3, held_out=40,
        max_context=64, device="cpu", dtype="float32",
    )  # fmt: skip
    (tmp_path / "out").mkdir()
    built = build(settings, tmp_path / "out", Console(file=io.StringIO()), lambda: False)
    with contextlib.closing(built.journal):
        state = train(built.run)
    assert state.before["return"] <= 0.4
    assert state.best["return"] > 0.9
