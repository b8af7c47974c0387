"""CartPole-v1 is solved with the default settings: 475 of 500 on starts that training never saw."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from rich.console import Console

from groupwise.config import build
from groupwise.settings import Settings
from groupwise.trainer import evaluate, train

pytest.importorskip("gymnasium")


@pytest.mark.learning
@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_cart_pole_is_solved(tmp_path: Path, seed: int) -> None:
    settings = Settings(task="gym:CartPole-v1", seed=seed, device="cpu")
    built = build(settings, tmp_path, Console(file=io.StringIO()), lambda: False)
    run = built.run
    with contextlib.closing(built.journal):
        state = train(run)
    after = evaluate(run.sampler, run.score, run.task, 100).scores["return"]
    assert state.before["return"] < 200
    assert after >= 475
