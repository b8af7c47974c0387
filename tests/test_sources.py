"""Where other policies come from: the run's own checkpoints, other runs, models, adapters; and refusals."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

import tiny_folder
from groupwise import runs
from groupwise.checkpoints import Checkpoints, DamagedError, State
from groupwise.config import build
from groupwise.engine.attention import Packed, Tree
from groupwise.models import Loaded, ModelError, load
from groupwise.policies import LanguagePolicy
from groupwise.seats import Seat, parse
from groupwise.settings import Settings
from groupwise.sources import Moving, Place, best, difference, latest, source_of, spare_copy, spared
from groupwise.trajectory import PolicyTag

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # from within peft


def weights_of(policy: LanguagePolicy) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in policy.module.named_parameters()}


def some_logp(policy: LanguagePolicy) -> torch.Tensor:
    """[12, V] of a probe."""
    tokens = torch.arange(12) + 6
    with torch.no_grad():
        hidden = policy.model.hidden(tokens, torch.arange(12), Packed([Tree(12)], CPU))
        return policy.model.logits(hidden).log_softmax(-1)


# ---------------------------------------------------------------------------- which checkpoint


def test_latest_counts_the_regular_checkpoints_back() -> None:
    """Every ten steps: after 37, the newest is 30, the one before 20. Those of a Ctrl-C do not count."""
    assert [latest(0, 10)(v) for v in (0, 9, 10, 37, 40)] == [None, None, 10, 30, 40]
    assert [latest(1, 10)(v) for v in (10, 19, 20, 37, 40)] == [None, None, 10, 20, 30]
    assert latest(3, 10)(37) is None


def test_what_latest_may_ask_for_is_kept() -> None:
    assert list(spared(parse("current:2,best:2"), 10)(37)) == []
    assert list(spared(parse("current:2,latest-2:2,latest-1:2"), 10)(37)) == [30, 20, 10]
    for version in range(20, 80):  # until the next checkpoint is written, the newest is at most `version`
        assert latest(2, 10)(version) in {None, *spared(parse("current:1,latest-2:1"), 10)(version)}


def small(folder: Path, model: Path, **more: Any) -> Any:
    settings = Settings(
        "arithmetic", model=str(model), device="cpu", **{"group_size": 2, "dtype": "float32", **more}
    )
    return build(settings, folder, Console(file=io.StringIO()), lambda: False, trains=False)


def test_pruning_spares_what_seats_need(tmp_path: Path) -> None:
    learner = small(tmp_path, tiny_folder.save(tmp_path / "model")).run.learner
    checkpoints = Checkpoints(tmp_path, 1, spared(parse("current:1,latest-1:1"), 10))
    for step in (10, 20, 27, 30, 34):
        checkpoints.save(learner, State(step))
    assert checkpoints.steps() == [20, 30, 34]


def checkpoint(learner: Any, folder: Path, step: int, best_step: int | None, fill: float) -> None:
    with torch.no_grad():
        for master in learner.masters.weights.values():
            master.fill_(fill)
    learner.masters.publish()
    scores = {} if best_step is None else {"correct": 0.5, "step": best_step}
    Checkpoints(folder, keep=9).save(learner, State(step, best=scores))


@pytest.mark.parametrize("lora", [0, 2])
def test_a_moving_source_loads_the_checkpoint_when_it_changes_and_leaves_the_run_alone(
    tmp_path: Path, lora: int
) -> None:
    """With an adapter the frozen weights are shared and only the adapter is held twice."""
    built = small(tmp_path, tiny_folder.save(tmp_path / "model"), lora_rank=lora)
    own, learner = built.run.policy, built.run.learner
    source = Moving("latest-0", own, tmp_path, latest(0, 10))
    assert source.at(25) is None
    checkpoint(learner, tmp_path, 10, None, 0.01)
    checkpoint(learner, tmp_path, 20, None, 0.02)
    before = weights_of(own)
    for version, step in ((25, 20), (26, 20), (13, 10), (20, 20)):
        writer = source.at(version)
        assert writer is not None
        assert writer.tag == PolicyTag("latest-0", step)
        trained = [p for n, p in writer.policy.module.named_parameters() if n in learner.masters.weights]
        assert len(trained) == len(learner.masters.weights)
        assert all(torch.equal(p, torch.full_like(p, step / 1000)) for p in trained)
        assert not any(p.requires_grad for p in writer.policy.module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in weights_of(own).items())
    assert any(p.requires_grad for p in own.module.parameters())
    ours, theirs = ({id(p) for p in x.module.parameters()} for x in (own, writer.policy))
    assert len(ours & theirs) == (len(ours) - len(learner.masters.weights))


def test_the_spare_copy_computes_what_the_policy_computes(tmp_path: Path) -> None:
    for lora in (0, 2):
        own = small(tmp_path, tiny_folder.save(tmp_path / "model"), lora_rank=lora).run.policy
        torch.testing.assert_close(some_logp(spare_copy(own)), some_logp(own), rtol=0, atol=0)


def test_best_is_what_the_newest_checkpoint_knew(tmp_path: Path) -> None:
    learner = small(tmp_path, tiny_folder.save(tmp_path / "model")).run.learner
    pick = best(tmp_path)
    assert pick(5) is None
    checkpoint(learner, tmp_path, 10, None, 0.1)
    checkpoint(learner, tmp_path, 20, 20, 0.1)
    checkpoint(learner, tmp_path, 30, 20, 0.1)
    checkpoint(learner, tmp_path, 35, 35, 0.1)
    assert [pick(v) for v in (9, 10, 19, 20, 34, 35, 40)] == [None, None, None, 20, 20, 35, 35]
    (tmp_path / "checkpoints" / "35" / "state.json").write_text("{")
    assert pick(36) == 35, "a checkpoint is read once"
    with pytest.raises(DamagedError, match=r"35/state\.json cannot be read"):
        best(tmp_path)(35)


# ---------------------------------------------------------------------------- by places


@pytest.fixture
def own(tmp_path: Path) -> Loaded:
    return load(str(tiny_folder.save(tmp_path / "own")), CPU, torch.float32)


def found(name: str, own: Loaded, folder: Path, needed: int = 20) -> Any:
    place = Place(str(own.source), folder, 10, torch.float32, needed)
    policy = LanguagePolicy(own.model, 0.5)
    return source_of(Seat(name, 2), own, policy, place, lambda _: None).at(3)


def test_a_model_folder_is_loaded_frozen_at_the_runs_temperature(own: Loaded, tmp_path: Path) -> None:
    place = str(tiny_folder.save(tmp_path / "other", seed=5))
    writer = found(place, own, tmp_path)
    assert writer.tag == PolicyTag(place, 0)
    assert writer.policy.temperature == 0.5
    assert not any(p.requires_grad for p in writer.policy.module.parameters())
    alone = load(place, CPU, torch.float32)
    torch.testing.assert_close(some_logp(writer.policy), some_logp(LanguagePolicy(alone.model)))


def test_frozen_weights_compute_in_the_runs_format(own: Loaded, tmp_path: Path) -> None:
    place = Place(str(own.source), tmp_path, 10, torch.bfloat16, 20)
    name = str(tiny_folder.save(tmp_path / "other", seed=5))
    writer = source_of(Seat(name, 2), own, LanguagePolicy(own.model), place, lambda _: None).at(0)
    assert writer is not None
    assert {p.dtype for p in writer.policy.module.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("lora", [0, 2])
def test_a_checkpoint_of_another_run(own: Loaded, tmp_path: Path, lora: int) -> None:
    folder = tmp_path / "run"
    settings = Settings("arithmetic", model=str(own.source), lora_rank=lora, dtype="float32", device="cpu")
    runs.begin(folder, settings)
    built = small(folder, Path(own.source), lora_rank=lora)
    with torch.no_grad():
        for i, master in enumerate(built.run.learner.masters.weights.values()):
            master.add_(0.01 * (i + 1))
    Checkpoints(folder).save(built.run.learner, State(50))
    writer = found(str(folder / "checkpoints" / "50"), own, tmp_path)
    assert writer.tag.version == 50
    torch.testing.assert_close(some_logp(writer.policy), some_logp(built.run.policy), rtol=0, atol=0)


def test_an_adapter_over_the_runs_base_is_merged(own: Loaded, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = tiny_folder.model(len(own.tokenizer))
    adapted = peft.get_peft_model(
        base, peft.LoraConfig(r=3, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    with torch.no_grad():
        for i, (name, p) in enumerate(adapted.named_parameters()):
            if "lora_" in name:
                p.copy_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))
    adapted.save_pretrained(tmp_path / "adapter")
    writer = found(str(tmp_path / "adapter"), own, tmp_path)
    with torch.no_grad():
        tokens = (torch.arange(12) + 6)[None]
        plain = adapted(input_ids=tokens, use_cache=False).logits[0].log_softmax(-1)
    torch.testing.assert_close(some_logp(writer.policy), plain, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(plain, some_logp(LanguagePolicy(own.model)), atol=0.1)


def test_an_adapter_of_another_architecture_is_refused(own: Loaded, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = tiny_folder.model(len(own.tokenizer), hidden=64)
    config = peft.LoraConfig(r=3, target_modules="all-linear", task_type="CAUSAL_LM")
    peft.get_peft_model(base, config).save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelError, match=r"--seats: the adapter .* does not fit .*size mismatch"):
        found(str(tmp_path / "adapter"), own, tmp_path)


# ---------------------------------------------------------------------------- refused


def test_a_place_that_is_nothing_is_refused(own: Loaded, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(ModelError, match=r"--seats: no model at .*config\.json"):
            found(str(tmp_path / name), own, tmp_path)


def test_a_checkpoint_that_is_not_there_is_refused_with_those_that_are(own: Loaded, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints" / "20").mkdir(parents=True)
    with pytest.raises(ModelError, match=r"there is no .*checkpoints/50; there are the checkpoints \[20\]"):
        found(str(tmp_path / "run" / "checkpoints" / "50"), own, tmp_path)
    with pytest.raises(ModelError, match=r"is no checkpoint of a run: .*run\.json cannot be read"):
        found(str(tmp_path / "run" / "checkpoints" / "20"), own, tmp_path)


def test_a_checkpoint_of_an_environment_is_refused(own: Loaded, tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "20").mkdir(parents=True)
    (tmp_path / "run.json").write_text(json.dumps({"config": {"task": "gym:CartPole-v1", "model": "x"}}))
    with pytest.raises(ModelError, match="is of gym:CartPole-v1, not of a language model"):
        found(str(tmp_path / "checkpoints" / "20"), own, tmp_path)


def test_a_checkpoint_of_another_architecture_is_refused_with_shapes(own: Loaded, tmp_path: Path) -> None:
    """run.json names one model and the weights are of another."""
    wide = tiny_folder.save(tmp_path / "wide")
    tiny_folder.model(len(own.tokenizer), hidden=64).save_pretrained(wide)
    folder = tmp_path / "run"
    runs.begin(folder, Settings("arithmetic", model=str(own.source), device="cpu"))
    Checkpoints(folder).save(small(folder, wide).run.learner, State(5))
    with pytest.raises(DamagedError, match=r"of another architecture: .*64.* has it as .*32"):
        found(str(folder / "checkpoints" / "5"), own, tmp_path)


def test_another_vocabulary_is_refused_with_the_first_difference(own: Loaded, tmp_path: Path) -> None:
    words = tiny_folder.tokenizer(tiny_folder.CHARACTERS.replace("a", "é"))
    tiny_folder.model(len(words)).save_pretrained(tmp_path / "other")
    words.save_pretrained(tmp_path / "other")
    with pytest.raises(ModelError, match=r"token 6 is 'a' here and 'é' there.*one tokenizer"):
        found(str(tmp_path / "other"), own, tmp_path)


def test_another_width_of_the_choice_is_refused_with_numbers(own: Loaded, tmp_path: Path) -> None:
    folder = tiny_folder.save(tmp_path / "other")
    tiny_folder.model(len(own.tokenizer) + 3).save_pretrained(folder)
    n = len(own.tokenizer)
    with pytest.raises(ModelError, match=f"chooses among {n + 3} tokens .* among {n}"):
        found(str(folder), own, tmp_path)


def test_a_context_that_is_too_short_is_refused_with_numbers(own: Loaded, tmp_path: Path) -> None:
    place = str(tiny_folder.save(tmp_path / "other"))
    with pytest.raises(ModelError, match=f"reads {tiny_folder.CONTEXT} tokens, .* has 161"):
        found(place, own, tmp_path, needed=161)


def test_tokenizers_are_alike_or_the_first_difference_is_named() -> None:
    def words(vocabulary: dict[str, int], **marks: str) -> Any:
        marks = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "?", **marks}
        return SimpleNamespace(get_vocab=lambda: vocabulary, **marks)

    ours = words({"a": 0, "b": 1, "c": 2})
    assert difference(ours, words({"c": 2, "a": 0, "b": 1})) is None
    assert difference(ours, words({"a": 0, "c": 1, "b": 2})) == "token 1 is 'b' here and 'c' there"
    assert difference(ours, words({"a": 0, "b": 1})) == "token 2 is 'c' here and None there"
    assert difference(ours, words({"a": 0, "b": 1, "c": 2}, eos_token="<end>")) == (
        "its eos_token is '<end>', and ours is '</s>'"
    )
