"""Fitting: what a step does, that it learns a rule, and that nothing but the seed decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import preferred
from groupwise.models import Lora
from groupwise.preferences.comparisons import Comparison, comparison
from groupwise.preferences.evaluation import measure, pairs
from groupwise.preferences.fit import Fitting, _gradient, fit, items
from groupwise.reward_models.model import RewardModel, begin

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return preferred.save(tmp_path_factory.mktemp("models") / "words")


def model(folder: Path, **more: Any) -> RewardModel:
    return begin(str(folder), CPU, **{"max_tokens": 64, "seed": 0, **more})


def comparisons(n: int, seed: int = 0) -> list[Comparison]:
    return [c for row in preferred.pairs(n, seed) if isinstance(c := comparison(row), Comparison)]


def test_the_learning_rate_rises_over_a_tenth_and_falls_to_almost_nothing() -> None:
    fitting = Fitting(learning_rate=1.0)
    rates = [fitting.rate(step, 20) for step in range(1, 21)]
    assert rates[:3] == [0.5, 1.0, 18 / 19]
    assert rates[-1] == pytest.approx(1 / 19)
    assert Fitting(learning_rate=1.0).rate(1, 1) == 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"epochs": 0},
        {"batch": 0},
        {"centring": -1.0},
        {"max_grad_norm": 0.0},
        {"tokens_per_microbatch": 0},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Fitting(**wrong)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # from within peft
@pytest.mark.parametrize("lora", [None, Lora(4, 8.0)])
def test_a_rule_is_learned(folder: Path, lora: Lora | None) -> None:
    """The better answer has a certain word in it: nine of ten on prompts that were not trained on."""
    judge = model(folder, lora=lora)
    given, _ = items(judge, comparisons(480))
    kept, _ = items(judge, comparisons(100, seed=9))
    fitting = Fitting(learning_rate=1e-2 if lora else 5e-3, epochs=2)
    numbers = list(fit(judge, given, fitting))
    assert [n["step"] for n in numbers] == list(range(1, fitting.steps(480) + 1))
    judge.merge()
    scores = judge.judged([row for item in kept for row in item.rows])
    assert measure(pairs(kept, scores)).accuracy > 0.9
    assert numbers[-1]["accuracy"] > numbers[0]["accuracy"]


def test_equal_seeds_give_equal_weights_and_others_do_not(folder: Path) -> None:
    def weights(seed: int) -> torch.Tensor:
        judge = model(folder, seed=seed)
        given, _ = items(judge, comparisons(40))
        list(fit(judge, given, Fitting(learning_rate=1e-3, batch=8, seed=seed)))
        return torch.cat([p.detach().flatten() for p in judge.module.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.allclose(weights(1), weights(2))


def test_micro_batches_change_no_gradient(folder: Path) -> None:
    """One comparison at a time or all at once, a ranking among them: the mean over comparisons."""
    rows = [*preferred.pairs(6), {"prompt": "w5", "ranking": ["w7", ["w8 w9", "w10"], "w11"]}]
    found = [c for row in rows if isinstance(c := comparison(row), Comparison)]
    gradients = []
    for tokens in (1, 60, 10_000):
        judge = model(folder)
        given, _ = items(judge, found)
        numbers = _gradient(judge, given, Fitting(tokens_per_microbatch=tokens, centring=0.1))
        gradients.append([p.grad.clone() for p in judge.module.parameters()])
    for other in gradients[1:]:
        for mine, theirs in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)
    assert numbers["loss"] > 0


def test_a_loss_that_is_not_finite_moves_nothing(folder: Path) -> None:
    judge = model(folder)
    given, _ = items(judge, comparisons(8))
    judge.module.score.weight.data[:] = float("inf")
    before = [p.detach().clone() for p in judge.module.model.parameters()]
    with pytest.raises(FloatingPointError, match=r"step 1.*--learning-rate"):
        list(fit(judge, given, Fitting()))
    assert all(torch.equal(a, b) for a, b in zip(before, judge.module.model.parameters(), strict=True))


def test_texts_that_are_equal_in_what_is_read_are_left_out(folder: Path) -> None:
    """The end is read: answers that differ only before it cannot be told apart."""
    judge = model(folder, max_tokens=3)
    rows = [
        {"prompt": "w5", "chosen": "w10 w20 w21 w22", "rejected": "w11 w20 w21 w22"},
        {"prompt": "w5", "chosen": "w20", "rejected": "w21"},
    ]
    found, excluded = items(judge, [c for row in rows if isinstance(c := comparison(row), Comparison)])
    assert excluded == {"equal in their last 3 tokens": 1}
    assert len(found) == 1
    assert found[0].characters == tuple(len(f"\n\nHuman: w5\n\nAssistant: {w}") for w in ("w20", "w21"))


def test_scores_of_a_batch_belong_to_their_texts(folder: Path) -> None:
    """Sorted by length on the way: the order of the texts comes back, also with duplicates."""
    judge = model(folder)
    rows = [list(range(4, 4 + n)) for n in (5, 2, 9, 2, 7)]
    alone = np.array([judge.judged([row])[0] for row in rows])
    np.testing.assert_allclose(judge.judged(rows, tokens=12), alone, atol=1e-6)
