"""What both sides of the benchmark do: the same texts, the same sizes, the same rewards.

    short    4 prompts of about 50 tokens x 8 answers of exactly 64 (end-of-sequence is not heeded)
    long     the same, prompts of about 460 tokens
    ragged   8 chat questions x 16 answers of up to 128 tokens that end where the model ends them

Needs neither torch nor groupwise: TRL's environment imports it too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any


@dataclass(frozen=True, slots=True)
class Workload:
    """One step's worth of work."""

    name: str
    prompts: int
    """Prompts in a step."""
    group: int
    """Answers to each prompt."""
    max_new_tokens: int
    """Tokens an answer may have; without `natural_end`, has."""
    prompt_words: int = 0
    """Words of a prompt before its question (a word is about a token); 0: a chat question alone."""
    natural_end: bool = False
    """Answers end at the end-of-sequence token; else it cannot end them."""
    trl_microbatch: int = 32
    """Answers in TRL's forward and backward pass: the most that fits 15 GB in float32."""

    @property
    def answers(self) -> int:
        """Answers in a step."""
        return self.prompts * self.group


SHORT = Workload("short", prompts=4, group=8, max_new_tokens=64, prompt_words=29)
LONG = Workload("long", prompts=4, group=8, max_new_tokens=64, prompt_words=403, trl_microbatch=8)
RAGGED = Workload("ragged", prompts=8, group=16, max_new_tokens=128, natural_end=True, trl_microbatch=16)
WORKLOADS = {w.name: w for w in (SHORT, LONG, RAGGED)}

SEED = 0


def prompts_of(workload: Workload, step: int, seed: int = SEED) -> list[str]:
    """The texts of a step, a function of its arguments alone; no two in a step are equal."""
    make = _passage if workload.prompt_words else _chat
    texts: list[str] = []
    attempt = 0
    while len(texts) < workload.prompts:
        text = make(Random(f"{workload.name}/{seed}/{step}/{attempt}"), workload)
        texts += [text] if text not in texts else []
        attempt += 1
    return texts


def reward(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float]:
    """Pseudo-random numbers in [0, 1), with TRL's signature: every group has something to learn.

    >>> reward(["1 + 1 ="], ["2"]) == reward(["1 + 1 ="], ["2"])
    True
    """
    return [_unit(f"{prompt}\0{completion}") for prompt, completion in zip(prompts, completions, strict=True)]


def _unit(text: str) -> float:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48


# ---------------------------------------------------------------------------- texts

WHO = ["The teacher", "A farmer", "My neighbour", "The old captain", "Our doctor", "The young baker"]
DID = ["bought", "found", "carried", "counted", "painted", "sold"]
WHAT = ["red apples", "wooden chairs", "small boats", "warm coats", "paper maps", "glass bottles"]
WHERE = ["near the river", "at the market", "behind the school", "in the garden", "on the hill"]
WHEN = ["in the morning", "before dinner", "last week", "after the rain", "every summer"]


def _passage(random: Random, workload: Workload) -> str:
    """Sentences, and a sum to be worked out."""
    sentences: list[str] = []
    while sum(len(s.split()) for s in sentences) < workload.prompt_words:
        parts = [random.choice(part) for part in (WHO, DID, WHAT, WHERE, WHEN)]
        sentences.append(" ".join(parts) + ".")
    a, b = random.randint(10, 99), random.randint(10, 99)
    return f"{' '.join(sentences)} Question: what is {a} plus {b}? Answer:"


ASK = [
    "What is the capital of {country}?",
    "Name one {thing}.",
    "Name three kinds of {thing}, separated by commas.",
    "What is {a} plus {b}?",
    "Is {a} larger than {b}? Reply yes or no.",
    "In one sentence, what is a {thing}?",
    "Write two sentences about {country}.",
    "Explain why people like the word {thing}.",
]
COUNTRY = ["France", "Japan", "Egypt", "Brazil", "Norway", "India", "Canada", "Greece", "Kenya", "Peru"]
THING = ["fruit", "tool", "river", "bird", "colour", "metal", "game", "planet", "tree", "vehicle"]


def _chat(random: Random, workload: Workload) -> str:
    """A question in the ChatML form that SmolLM2-Instruct was trained on."""
    question = random.choice(ASK).format(
        country=random.choice(COUNTRY),
        thing=random.choice(THING),
        a=random.randint(10, 99),
        b=random.randint(10, 99),
    )
    turns = (("system", "You are a helpful assistant. Answer briefly."), ("user", question))
    said = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)
    return f"{said}<|im_start|>assistant\n"
