"""The memory of the models that rewards ask, by their configurations alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

import tiny_folder
from groupwise.planning import judges
from groupwise.planning.judges import held

CPU = torch.device("cpu")
HIDDEN, LABELS = 32, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder.save(tmp_path_factory.mktemp("model")))


def test_bytes_by_hand(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One language model for all that ask it, in the device's format; a reward model each, in float32."""
    monkeypatch.setattr(judges, "best_dtype", lambda device: torch.bfloat16)
    whole = sum(p.numel() for p in tiny_folder.model(len(tiny_folder.tokenizer())).parameters())
    body = sum(p.numel() for p in AutoModel.from_pretrained(folder).parameters())
    said: list[str] = []
    assert held(["my.py:f", "random", "relevance"], CPU, said.append) == 0
    assert held([f"fluency:{folder}=0.1", f"fluency:{folder}"], CPU, said.append) == 2 * whole
    assert held([f"relevance:{folder}"], CPU, said.append) == 2 * body
    scored = 4 * (body + HIDDEN * LABELS)
    assert held([f"reward-model:{folder}"] * 2, CPU, said.append) == 2 * scored
    assert said == []


def test_a_size_that_is_not_told_stops_nothing(tmp_path: Path) -> None:
    """What is loaded may be of a kind that has no such configuration: the loader knows better."""
    said: list[str] = []
    assert held([f"relevance:{tmp_path}/none"], CPU, said.append) == 0
    assert len(said) == 1
    assert "not counted" in said[0]
