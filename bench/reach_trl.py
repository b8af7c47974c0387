"""TRL's side of reach.py, in TRL's environment: trains for as long as it is asked for points.

python bench/reach_trl.py TASK.json fp32    TASK.json is what reach.for_trl wrote
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.optim.lr_scheduler import LambdaLR
from transformers import GenerationConfig, TrainerCallback
from transformers.utils.logging import disable_progress_bar

from protocol import Channel, peak_memory_gib
from trl_side import TimedTrainer, config

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
from groupwise.tasks.arithmetic import alone, correct, digits  # needs only torch and numpy

REWARDS: dict[str, Callable[..., list[float]]] = {"correct": correct, "digits": digits, "alone": alone}
MICROBATCH = 64
"""Answers in a forward and backward pass; they are short."""


class ReachTrainer(TimedTrainer):
    """TRL with the learning rate of every step given."""

    rates: list[float]

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        optimizer = optimizer or self.optimizer
        peak = optimizer.param_groups[0]["lr"]
        self.lr_scheduler = LambdaLR(optimizer, lambda step: self.rates[step] / peak)
        return self.lr_scheduler


class PointWhenAsked(TrainerCallback):
    """Measures a point every few steps, sends it, and waits until another is asked for."""

    def __init__(self, task: dict[str, Any], channel: Channel) -> None:
        self.task, self.channel = task, channel
        self.trainer: ReachTrainer | None = None
        self.step, self.start, self.seconds = 0, 0.0, 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        assert self.trainer is not None
        if self.step % self.task["every"] == 0:
            self._send()
            if not self.channel.asked():
                os._exit(0)  # nothing to save
        self.start = self.trainer.watch.now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        assert self.trainer is not None
        self.seconds += self.trainer.watch.now() - self.start
        self.step += 1

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self._send()

    def _send(self) -> None:
        assert self.trainer is not None
        self.channel.send(
            {
                "step": self.step,
                "seconds": self.seconds,
                "accuracy": accuracy(self.trainer, self.task),
                "peak_memory_gib": peak_memory_gib(),
            }
        )


@torch.no_grad()
def accuracy(trainer: ReachTrainer, task: dict[str, Any]) -> float:
    """Share of the held-out sums that greedy answers get right."""
    model, tokenizer = trainer.model, trainer.processing_class
    rows = task["held_out"]
    inputs = tokenizer(
        [row["prompt"] for row in rows], return_tensors="pt", padding=True, padding_side="left"
    )
    greedy = GenerationConfig(
        max_new_tokens=task["max_new_tokens"],
        do_sample=False,
        eos_token_id=trainer.eos_token_ids,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.eval()
    written = model.generate(**inputs.to(model.device), generation_config=greedy)
    model.train()
    texts = tokenizer.batch_decode(written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    right = correct(texts, answer=[row["answer"] for row in rows])
    return sum(right) / len(right)


def trainer_of(task: dict[str, Any], variant: str, channel: Channel) -> ReachTrainer:
    callback = PointWhenAsked(task, channel)
    beta1, beta2, decay = task["adam"]
    answers = task["prompts"] * task["group"]
    args = config(
        variant,
        answers,
        min(MICROBATCH, answers),
        num_generations=task["group"],
        max_completion_length=task["max_new_tokens"],
        max_steps=len(task["rates"]) - 1,
        learning_rate=max(task["rates"]),
        adam_beta1=beta1,
        adam_beta2=beta2,
        weight_decay=decay,
        max_grad_norm=task["max_grad_norm"],
        reward_weights=[task["weights"][name] for name in REWARDS],
    )
    dataset = Dataset.from_list(task["train"])
    trainer = ReachTrainer(task["model"], list(REWARDS.values()), args, dataset, callbacks=[callback])
    trainer.rates = task["rates"]
    callback.trainer = trainer
    return trainer


def main() -> None:
    task, variant = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]
    channel = Channel()
    disable_progress_bar()
    trainer_of(task, variant, channel).train()


if __name__ == "__main__":
    main()
