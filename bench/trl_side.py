"""TRL's side of the benchmark: one training step of GRPOTrainer whenever asked. Runs in TRL's environment.

python bench/trl_side.py short fp32 MODEL-FOLDER    then a line `step` on stdin for each step

Variants, by precision:
    default  float32 weights under bfloat16 autocast: what TRL does unless told otherwise
    bf16     bfloat16 weights under bfloat16 autocast: no cast at every use
    fp32     float32 throughout: what suits a CPU without bfloat16 units
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from transformers.utils.logging import disable_progress_bar
from trl import GRPOConfig, GRPOTrainer

from protocol import Channel, Stopwatch, peak_memory_gib
from workloads import WORKLOADS, Workload, prompts_of, reward

PREPARED_STEPS = 100
"""Steps for which prompts are made."""

PRECISION: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "bf16": {"model_init_kwargs": {"dtype": "bfloat16"}},
    "fp32": {"bf16": False},
}


def config(variant: str, answers: int, microbatch: int, **settings: Any) -> GRPOConfig:
    """TRL's defaults but for these: no gradient checkpointing (it would cost TRL a fifth of its time),
    one optimizer step for each batch of answers, prompts in the order given, nothing written."""
    if answers % microbatch:
        raise ValueError(f"{answers} answers cannot be cut into micro-batches of {microbatch}")
    return GRPOConfig(
        output_dir=os.path.join(tempfile.gettempdir(), "groupwise-bench-trl"),  # nothing is saved
        per_device_train_batch_size=microbatch,
        gradient_accumulation_steps=answers // microbatch,
        gradient_checkpointing=False,
        loss_type="dapo",
        beta=0.0,
        num_iterations=1,
        temperature=1.0,
        shuffle_dataset=False,
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        **PRECISION[variant],
        **settings,
    )


class TimedTrainer(GRPOTrainer):
    """GRPOTrainer that knows how long it wrote answers and how long it scored them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.watch = Stopwatch(synchronize)
        self.prompt_lengths: list[int] = []
        self.answer_lengths: list[int] = []

    def _tokenize_prompts(self, prompts: Any) -> Any:
        found = super()._tokenize_prompts(prompts)
        self.prompt_lengths = [len(ids) for ids in found[0]]
        return found

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        with self.watch("generate"):
            return super()._generate(*args, **kwargs)

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, ids: Any) -> Any:
        self.answer_lengths = [len(row) for row in ids]
        with self.watch("score"):
            return super()._calculate_rewards(inputs, prompts, completions, ids)


class StepWhenAsked(TrainerCallback):
    """Waits before a step until the driver asks for it, and reports after it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.trainer: TimedTrainer | None = None
        self.start = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        if not self.channel.asked():
            os._exit(0)  # nothing to save
        assert self.trainer is not None
        self.trainer.watch.take()
        self.start = self.trainer.watch.now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        trainer = self.trainer
        assert trainer is not None
        step = trainer.watch.now() - self.start
        seconds = trainer.watch.take()
        self.channel.send(
            {
                **seconds,
                "update": step - sum(seconds.values()),
                "step": step,
                "prompt_tokens": sum(trainer.prompt_lengths[:: trainer.num_generations]),
                "answer_tokens": sum(trainer.answer_lengths),
                "lengths": sorted(set(trainer.answer_lengths)),
                "peak_memory_gib": peak_memory_gib(),
            }
        )


def workload_trainer(workload: Workload, variant: str, model: str, channel: Channel) -> TimedTrainer:
    settings: dict[str, Any] = {}
    if not workload.natural_end:  # end-of-sequence is masked until there are so many tokens
        settings["generation_kwargs"] = {"min_new_tokens": workload.max_new_tokens}
    rows = [{"prompt": text} for step in range(PREPARED_STEPS) for text in prompts_of(workload, step)]
    callback = StepWhenAsked(channel)
    trainer = TimedTrainer(
        model=model,
        reward_funcs=reward,
        train_dataset=Dataset.from_list(rows),
        args=config(
            variant,
            workload.answers,
            workload.trl_microbatch,
            num_generations=workload.group,
            max_completion_length=workload.max_new_tokens,
            learning_rate=1e-6,
            max_steps=PREPARED_STEPS,
            **settings,
        ),
        callbacks=[callback],
    )
    callback.trainer = trainer
    return trainer


def described(trainer: TimedTrainer) -> dict[str, Any]:
    """What this side runs with, for the record."""
    weights = next(trainer.model.parameters()).dtype
    return {
        "precision": {
            "weights": str(weights).removeprefix("torch."),
            "compute": "bfloat16" if trainer.args.bf16 else "float32",
        },
        "microbatch": trainer.args.per_device_train_batch_size,
        "gradient_checkpointing": trainer.args.gradient_checkpointing,
        "optimizer": getattr(trainer.args.optim, "value", trainer.args.optim),
        "eos": sorted(trainer.eos_token_ids),
        "threads": torch.get_num_threads(),
        "device": trainer.accelerator.device.type,
    }


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    name, variant, model = sys.argv[1:]
    channel = Channel()
    disable_progress_bar()
    trainer = workload_trainer(WORKLOADS[name], variant, model, channel)
    channel.send(described(trainer))
    trainer.train()


if __name__ == "__main__":
    main()
