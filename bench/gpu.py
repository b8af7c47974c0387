"""On a GPU: decoding against the memory bandwidth, training against the product rate, both against peers.

    python bench/gpu.py                                    random models of 0.5B and 1.5B shape
    python bench/gpu.py --shapes tiny --prompts 2 --group 4 --prompt 16 --answer 8      a look, anywhere

Weights are random (only shapes matter for speed) and no answer ends early. In one process, per shape:
    decode    our generate; share of the measured bandwidth (weights once a step, keys and values as read)
              and the ratio to transformers' own `generate` on the same prompts
    train     one learner step on those answers; share of the measured product rate (model FLOPs: 6 for
              each weight of the layers and each token of the *unshared* sequences, so that sharing a prompt
              counts as speed, beside the share by the work really done), and the ratio to a plain step:
              padded [B, P + T] rows, full logits, AdamW
The first round of each warms up; medians of --repeats.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, Qwen2Config

import record
from groupwise import DAPO, Group, PolicyTag, Prompt, Trajectory, Turn, advantages, packing
from groupwise.engine.generate import generate
from groupwise.engine.model import CausalLM
from groupwise.engine.sampling import Sampling
from groupwise.engine.scheduler import Completion, Request
from groupwise.learner import Learner, Optimization
from groupwise.policies import LanguagePolicy
from groupwise.precision import best_device, best_dtype
from limits import decode_bytes, decode_flops, learner_flops, measure_machine, share, sizes_of, timed
from protocol import peak_memory_gib

SHAPES = {"tiny": (64, 2, 4, 128), "0.5B": (896, 24, 14, 4864), "1.5B": (1536, 28, 12, 8960)}
"""Hidden size, layers, heads, inner size; of Qwen2.5, with 2 key-value heads and tied embeddings."""
VOCABULARY = {"tiny": 512}


@dataclass(frozen=True, slots=True)
class Work:
    """A step: prompts x group answers of `answer` tokens, after prompts of `prompt` tokens."""

    prompts: int
    group: int
    prompt: int
    answer: int
    microbatch: int
    """Tokens of our micro-batch; the plain step takes as many rows as fit into it."""

    @property
    def rows(self) -> int:
        return self.prompts * self.group


def config_of(shape: str) -> Qwen2Config:
    hidden, layers, heads, inner = SHAPES[shape]
    return Qwen2Config(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        num_key_value_heads=2,
        vocab_size=VOCABULARY.get(shape, 151_936),
        max_position_embeddings=32_768,
        tie_word_embeddings=True,
    )


def random_model(shape: str, device: torch.device) -> Any:
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config_of(shape)).eval()


def requests_of(work: Work, vocabulary: int, seed: int) -> list[Request]:
    draw = np.random.default_rng(seed)
    return [
        Request(tuple(draw.integers(5, vocabulary, work.prompt).tolist()), work.group, i)
        for i in range(work.prompts)
    ]


def cohort_of(requests: Sequence[Request], answers: Sequence[Sequence[Completion]]) -> list[Group]:
    """Groups with random rewards: what matters is that every answer has an advantage."""
    draw = np.random.default_rng(0)

    def trajectory(request: Request, c: Completion) -> Trajectory:
        turn = Turn(np.array(request.tokens), np.array(c.tokens), np.array(c.logp, dtype=np.float32))
        return Trajectory((turn,), PolicyTag(), c.stopped, reward=float(draw.normal()))

    return [
        Group(Prompt(r.ordinal, ""), tuple(trajectory(r, c) for c in completions))
        for r, completions in zip(requests, answers, strict=True)
    ]


def median(work: Callable[[], Any], repeats: int) -> float:
    """Seconds, after one round that warms up."""
    return statistics.median([timed(work)[0] for _ in range(repeats + 1)][1:])


# ---------------------------------------------------------------- ours


def ours(shape: str, work: Work, device: torch.device, dtype: torch.dtype, repeats: int) -> dict[str, Any]:
    model = CausalLM(random_model(shape, device), shape)
    policy = LanguagePolicy(model)
    learner = Learner(policy, Optimization(learning_rate=1e-6), dtype)
    requests = requests_of(work, model.vocabulary, 0)

    def written(tokens: int) -> list[list[Completion]]:
        return generate(model, requests, Sampling(tokens, max_rows=work.rows), eos=frozenset())

    prefill, whole = median(lambda: written(1), repeats), median(lambda: written(work.answer), repeats)
    cohort = advantages.assign(cohort_of(requests, written(work.answer)), DAPO.advantage)
    batch = packing.pack(cohort, DAPO, policy, work.microbatch)
    assert batch is not None
    update = median(lambda: learner.step(batch, DAPO, 1), repeats)
    packed = sum(len(piece.inputs.tokens) for piece in batch.pieces)
    sizes = sizes_of(model.model)
    machine = measure_machine(device, dtype)
    step = (whole - prefill) / (work.answer - 1)
    cached = work.prompts * work.prompt + work.rows * work.answer / 2
    unshared = work.rows * (work.prompt + work.answer - 1)
    return {
        "limits": asdict(machine),
        "generate": whole,
        "update": update,
        "peak_memory_gib": peak_memory_gib(),
        "decode": asdict(share(machine, step, decode_flops(sizes, work.rows), decode_bytes(sizes, cached))),
        "train": asdict(share(machine, update, learner_flops(sizes, packed, len(batch)))),
        "train_unshared": asdict(share(machine, update, learner_flops(sizes, unshared, len(batch)))),
    }


# ---------------------------------------------------------------- peers


def peers(shape: str, work: Work, device: torch.device, dtype: torch.dtype, repeats: int) -> dict[str, Any]:
    """transformers' generate, and a step that pads, in autocast with float32 weights."""
    rows = [r.tokens for r in requests_of(work, config_of(shape).vocab_size, 0) for _ in range(work.group)]
    prompt = torch.tensor(rows, device=device)
    whole, tokens = writing(random_model(shape, device).to(dtype), prompt, work, repeats)
    model = random_model(shape, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    update = median(lambda: plain_step(model, optimizer, tokens, work, dtype), repeats)
    return {"generate": whole, "update": update}


def writing(model: Any, prompt: Tensor, work: Work, repeats: int) -> tuple[float, Tensor]:
    """Seconds of transformers' own sampling, and its [rows, P + T]."""

    def write() -> Tensor:
        return model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=True,
            max_new_tokens=work.answer,
            min_new_tokens=work.answer,
            pad_token_id=0,
        )

    return median(write, repeats), write()


def plain_step(model: Any, optimizer: Any, tokens: Tensor, work: Work, dtype: torch.dtype) -> None:
    at_once = max(1, work.microbatch // tokens.shape[1])
    for chunk in tokens.split(at_once):
        with torch.autocast(tokens.device.type, dtype, enabled=dtype != torch.float32):
            logits = model(chunk[:, :-1], use_cache=False).logits[:, work.prompt - 1 :]
        every = logits.float().log_softmax(-1)
        logp = every.gather(-1, chunk[:, work.prompt :, None])[..., 0]
        (-logp.sum() / tokens.numel()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


# ---------------------------------------------------------------- the table


def measure(shape: str, work: Work, repeats: int) -> dict[str, Any]:
    device = best_device()
    dtype = best_dtype(device)
    mine, theirs = ours(shape, work, device, dtype, repeats), peers(shape, work, device, dtype, repeats)
    return {
        "shape": shape,
        "work": asdict(work),
        "dtype": str(dtype).removeprefix("torch."),
        "hardware": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "machine": record.machine(),
        "ours": mine,
        "peers": theirs,
        "ratio": {name: theirs[name] / mine[name] for name in ("generate", "update")},
    }


def line(found: dict[str, Any]) -> str:
    mine, ratio = found["ours"], found["ratio"]
    return (
        f"{found['shape']} on {found['hardware']}, {found['dtype']}: decode step "
        f"{1e3 * mine['decode']['seconds']:.1f} ms = {mine['decode']['of_bandwidth']:.0%} of bandwidth, "
        f"{ratio['generate']:.1f} x transformers.generate; learner {mine['train']['of_peak']:.0%} of peak "
        f"({mine['train_unshared']['of_peak']:.0%} counting prompts unshared), {ratio['update']:.1f} x a "
        f"padded step; peak {mine['peak_memory_gib']:.1f} GiB"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["0.5B", "1.5B"])
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=512, help="tokens")
    parser.add_argument("--answer", type=int, default=256, help="tokens")
    parser.add_argument("--microbatch", type=int, default=16_384, help="tokens")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write everything as JSON, e.g. bench/results/gpu-NAME.json")
    options = parser.parse_args(arguments)
    work = Work(options.prompts, options.group, options.prompt, options.answer, options.microbatch)
    found = []
    for shape in options.shapes:
        found.append(measure(shape, work, options.repeats))
        print(line(found[-1]), flush=True)
        if options.out is not None:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
