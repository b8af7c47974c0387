"""The estimate of memory and time: against counting, against formulas by hand, and against measurement."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
import tiny_folder
from commands import ENVIRONMENT
from groupwise.hardware import Rates, Room
from groupwise.planning.advice import savings
from groupwise.planning.inputs import Unloaded, unloaded
from groupwise.planning.memory import Memory, memory, microbatches
from groupwise.planning.sizes import GIB, Kept, Shape, Working, Workload
from groupwise.planning.time import Efficiency, seconds

BENCH = Path(__file__).parents[2] / "bench"
RECORDED = BENCH / "results" / "plan.json"
WITHIN = 0.2
"""Of what is measured."""

SMALL = Shape(
    parameters=1000, linear=600, adapted=50, layers=2, hidden=8, intermediate=16, heads=2, kv_heads=1,
    head_size=4, vocabulary=10,
)  # fmt: skip
WORK = Workload(
    prompts=2, group_size=3, prompt_tokens=5, max_new_tokens=4, tokens_per_microbatch=100, max_rows=8,
    held_out=2,
)  # fmt: skip
BARE = Working(0, 0, 0, 0, 0, 0)


def part(found: Memory, name: str) -> int:
    parts = (*found.always, *found.generating, *found.learning)
    return next((p.bytes for p in parts if p.name == name), 0)


# ---------------------------------------------------------------------------- shapes


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_a_shape_read_without_weights_is_the_models_own(name: str) -> None:
    """Every family: parameters as counted, on `meta` and with weights alike."""
    from transformers import AutoModelForCausalLM

    model = tiny.plain(name)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(model.config)
    shape = Unloaded(name, empty, None).shape()
    assert shape == Unloaded(name, model, None).shape()
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    config = model.config.get_text_config()
    assert (shape.hidden, shape.vocabulary) == (config.hidden_size, tiny.VOCABULARY)
    assert 0 < shape.linear < shape.parameters


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # from within peft
@pytest.mark.filterwarnings("ignore:fan_in_fan_out:UserWarning")
@pytest.mark.parametrize("name", ["llama", "llama-tied", "qwen2", "gpt2", "phi3"])
def test_an_adapter_has_as_many_numbers_as_peft_makes(name: str) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=3, target_modules="all-linear", task_type="CAUSAL_LM")
    shape = Unloaded(name, tiny.plain(name), None).shape()
    model = peft.get_peft_model(tiny.plain(name), config)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == 3 * shape.adapted


def test_a_tied_head_counts_once(tmp_path: Path) -> None:
    tied, own = (
        unloaded(str(tiny_folder.save(tmp_path / str(t), tied=t)), lambda _: None).shape()
        for t in (True, False)
    )
    assert own.parameters - tied.parameters == own.vocabulary * own.hidden
    assert own.linear == tied.linear


# ---------------------------------------------------------------------------- formulas by hand


def test_weights_and_moments() -> None:
    found = memory(SMALL, WORK, working=BARE)
    assert (part(found, "weights"), part(found, "optimizer")) == (4000, 8000)
    half = memory(SMALL, replace(WORK, number_bytes=2, reference=True), working=BARE)
    parts = [part(half, n) for n in ("weights", "master weights", "optimizer", "reference")]
    assert parts == [2000, 4000, 8000, 2000]
    lora = memory(SMALL, replace(WORK, lora_rank=2, number_bytes=2, reference=True), working=BARE)
    assert [part(lora, n) for n in ("weights", "adapter", "optimizer")] == [2000, 400, 800]
    assert part(lora, "reference") == part(lora, "master weights") == 0


def test_keys_and_values() -> None:
    """2 layers, keys and values, 1 head of 4: 16 numbers a token; 2 prompts of 5, 6 answers of 4 tokens."""
    found = memory(SMALL, WORK, working=BARE)
    assert part(found, "keys and values") == 16 * (2 * 5 + 6 * 4) * 4
    longer = memory(SMALL, replace(WORK, max_new_tokens=64), working=BARE)  # rooms of 16, 32 and 64
    assert part(longer, "keys and values") == 16 * (2 * 5 + 6 * 112) * 4
    few = memory(SMALL, replace(WORK, max_rows=3), working=BARE)
    assert part(few, "keys and values") < part(found, "keys and values")


def test_activations() -> None:
    """One micro-batch: 2 prompts of 5, 6 answers of 3 read tokens = 28; keys 2 x 5 + 6 x 8 = 58."""
    [piece] = microbatches(WORK)
    assert (piece.tokens, piece.keys, piece.pairs) == (28, 58, 2 * 25 + 6 * 3 * 8)
    one = Kept(hidden=1, intermediate=0, heads=0, keys=0, pairs=0)
    assert part(memory(SMALL, WORK, one, BARE), "activations") == 2 * 4 * 8 * 28
    one = Kept(hidden=0, intermediate=0, heads=0, keys=2, pairs=1)
    assert part(memory(SMALL, WORK, one, BARE), "activations") == 2 * 4 * (2 * 4 * 58 + 50 + 144)


def test_gradients_take_the_place_of_activations_in_a_single_pass() -> None:
    """One micro-batch: only what exceeds the activations adds; several: all of it."""
    one = memory(SMALL, WORK, working=BARE)
    assert part(one, "gradients") == max(0, 4000 - part(one, "activations") - part(one, "logits"))
    assert part(memory(SMALL, replace(WORK, tokens_per_microbatch=20), working=BARE), "gradients") == 4000


def test_the_phases_do_not_add() -> None:
    found = memory(SMALL, WORK)
    both = [sum(p.bytes for p in parts) for parts in (found.generating, found.learning)]
    assert found.peak == sum(p.bytes for p in found.always) + max(both)


@pytest.mark.parametrize(
    ("budget", "cut"),
    [
        (100, [(2, 6)]),
        (27, [(1, 3), (1, 3)]),  # both groups take 28: whole ones
        (14, [(1, 3), (1, 3)]),
        (11, [(1, 2), (1, 1), (1, 2), (1, 1)]),  # a group takes 14 and has to be cut
        (8, [(1, 1)] * 6),
    ],
)
def test_micro_batches_are_cut_as_packing_cuts_them(budget: int, cut: list[tuple[int, int]]) -> None:
    pieces = microbatches(replace(WORK, tokens_per_microbatch=budget))
    assert [(piece.trees, piece.answers) for piece in pieces] == cut


def test_time_from_operations() -> None:
    """Twice the rate, half the time; twice the steps of writing, twice the writing."""
    efficiency = Efficiency(layer_seconds=0)
    slow, fast = (seconds(SMALL, WORK, Rates(r, r), efficiency) for r in (1e6, 2e6))
    assert fast.step == pytest.approx(slow.step / 2)
    fewer = seconds(SMALL, replace(WORK, max_rows=3), Rates(1e6, 1e30), efficiency)
    assert fewer.learn == pytest.approx(seconds(SMALL, WORK, Rates(1e6, 1e30), efficiency).learn)
    adapter = seconds(SMALL, replace(WORK, lora_rank=2), Rates(1e6, 1e6), efficiency)
    assert adapter.learn < slow.learn


def test_more_optimizer_steps_read_the_weights_more_often() -> None:
    """Arithmetic is the same for every cut of a batch; AdamW's passes over the weights are not."""
    rates = Rates(1e30, 1e6)
    one = seconds(SMALL, replace(WORK, epochs=3), rates).learn
    assert seconds(SMALL, replace(WORK, epochs=3, minibatches=4), rates).learn == pytest.approx(4 * one)


# ---------------------------------------------------------------------------- advice

REAL = Shape(134_515_008, 106_168_320, 30 * 13_248, 30, 576, 1536, 9, 3, 64, 49152)


def test_savings_are_what_the_estimate_says_of_the_changed_run() -> None:
    work = replace(WORK, prompts=4, group_size=8, prompt_tokens=460, max_new_tokens=64,
                   tokens_per_microbatch=2048)  # fmt: skip
    peak = memory(REAL, work).peak
    found = savings(REAL, work)
    assert [s.bytes for s in found] == sorted((s.bytes for s in found), reverse=True)
    by_flag = {s.flag: s.bytes for s in found}
    cut = replace(work, tokens_per_microbatch=1024)
    assert by_flag["--tokens-per-microbatch 1024"] == peak - memory(REAL, cut).peak > 0
    assert by_flag["--lora-rank 16"] == peak - memory(REAL, replace(work, lora_rank=16)).peak > 0
    assert all(s.bytes > 0 for s in found)
    assert not any(flag.startswith(("--kl-scale", "--dtype")) for flag in by_flag)


def test_no_group_size_is_proposed_that_seats_would_refuse() -> None:
    """`train` refuses a --group-size beside --seats that make another."""
    work = replace(WORK, prompts=1, group_size=32, max_new_tokens=256, tokens_per_microbatch=9000)

    def proposed(work: Workload) -> bool:
        return any(s.flag.startswith("--group-size") for s in savings(REAL, work))

    assert proposed(work)
    assert not proposed(replace(work, others=1))


def test_the_budget_that_is_proposed_holds_the_longest_sequence() -> None:
    work = replace(WORK, prompt_tokens=460, max_new_tokens=64, tokens_per_microbatch=600)
    assert any(s.flag == "--tokens-per-microbatch 524" for s in savings(REAL, work))
    tight = savings(REAL, replace(work, tokens_per_microbatch=524))
    assert not any(s.flag.startswith("--tokens-per-microbatch") for s in tight)


# ---------------------------------------------------------------------------- measurement


def recorded() -> list[dict[str, Any]]:
    return json.loads(RECORDED.read_text())


@pytest.mark.parametrize("result", recorded(), ids=lambda r: r["workload"])
def test_the_formulas_meet_what_was_measured(result: dict[str, Any]) -> None:
    """bench/results/plan.json holds the sizes and what was measured; the formulas are today's."""
    found = memory(Shape(**result["shape"]), Workload(**result["work"]))
    assert found.peak / GIB == pytest.approx(result["measured"]["gib"], rel=WITHIN)


@pytest.mark.slow
def test_the_estimate_meets_a_measurement_taken_now(tmp_path: Path) -> None:
    """Memory above what the process held before it had a model, of a model large enough to be seen."""
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tiny_folder.tokenizer()
    config = LlamaConfig(
        vocab_size=8192, hidden_size=256, intermediate_size=768, num_hidden_layers=8,
        num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    command = [sys.executable, str(BENCH / "plan_check.py"), "--model", str(tmp_path)]
    done = subprocess.run(
        [*command, "--workload", "4,8,100,48,1024"],
        env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    base = result["work"]["process"] / GIB
    ours, real = (result[side]["gib"] - base for side in ("predicted", "measured"))
    assert ours == pytest.approx(real, rel=0.25)


def test_room_is_told_in_bytes() -> None:
    from groupwise.hardware import room

    found = room(torch.device("cpu"))
    assert isinstance(found, Room)
    assert 2**20 < found.process < found.available <= found.total
