"""Fluency: how likely a frozen language model finds the answer, token by token."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from groupwise.rewards.frozen import as_utf8, frozen, named, prompt_tokens
from groupwise.rewards.words import Completion, plain, text_of

if TYPE_CHECKING:
    import torch

    from groupwise.models import Loaded

ENOUGH = 10.0
"""Perplexity at which an answer is fluent enough: more likely ones earn no more."""
RUN = 8
"""Tokens in a row that count as copied where the prompt or the answer up to there has them too."""
CHARACTERS, TOKENS = 8192, 1024
"""Of an answer, its first characters are read, and of these the first tokens."""
BUDGET = 4096
"""Tokens in one forward pass, at least one answer; changes memory, not values."""
_GAP = re.compile(r"\s{9,}")


def fluency(
    settings: str = "", enough: float = ENOUGH, device: torch.device | None = None
) -> Callable[..., list[float]]:
    """fresh · min(1, enough / perplexity), in [0, 1]; 0 for an answer without a visible character.

    fresh = share of the answer's tokens that are not in a run of `RUN` tokens copied from the prompt or from
    the answer itself further up, perplexity = exp(−mean over fresh tokens of log p(token | prompt, tokens
    before)) under the model that `settings` names. The mean makes lengths comparable. What is copied is left
    out because the likeliest texts of all are loops and echoes of the question, and the rest is capped
    because the next likeliest are commonplaces. Given the prompt, since without it the first words of an
    answer cannot be foreseen and short answers would lose to long ones. The end of the answer is not scored.

    What is read is the plain text (words.plain), a run of white space as at most eight, the first
    `CHARACTERS` and of those the first `TOKENS`; of a prompt that is too long for the model, its end.
    The model is on `device`, the best one unless given.
    Logs `fluency/perplexity`, the geometric mean over the answers, and `fluency/fresh`.

    Raises:
        ModelError: there is no such model. A hub's is looked up when the first answers are scored.
        ValueError: `enough` below 1.
    """
    if not enough >= 1:
        raise ValueError(f"enough={enough}: a perplexity is at least 1")
    name = named(settings)

    def fluent(
        prompts: Sequence[Completion], completions: Sequence[Completion], **columns: Any
    ) -> list[float]:
        answers = read(frozen(name, device), prompts, [seen(text_of(c)) for c in completions])
        shares = [0.0 if a is None else float(a.fresh.mean()) for a in answers]
        means = [float(a.logp[a.fresh].mean()) if a is not None and a.fresh.any() else None for a in answers]
        if (known := [m for m in means if m is not None]) and (log := columns.get("log_metric")):
            log("fluency/fresh", sum(shares) / len(shares))
            log("fluency/perplexity", math.exp(-sum(known) / len(known)))
        return [
            0.0 if mean is None else share * min(1.0, enough * math.exp(mean))
            for share, mean in zip(shares, means, strict=True)
        ]

    return fluent


def seen(text: str) -> str:
    """The part of a text that is scored: without filler that nobody sees, of which a loop costs nothing."""
    return _GAP.sub(lambda gap: gap[0][:8], as_utf8(plain(text[: 4 * CHARACTERS]))).strip()[:CHARACTERS]


def fresh(prompt: Sequence[int], answer: Sequence[int], n: int = RUN) -> np.ndarray:
    """[len(answer)] bool: the tokens outside runs of n that the prompt, or the answer before it, has too.

    >>> fresh([1, 2, 3], [2, 3, 7, 8, 7, 8, 7], n=2).tolist()
    [False, False, True, True, False, False, False]
    """
    known = {tuple(prompt[i : i + n]) for i in range(len(prompt) - n + 1)}
    new = np.ones(len(answer), dtype=bool)
    for i in range(len(answer) - n + 1):
        run = tuple(answer[i : i + n])
        if run in known:
            new[i : i + n] = False
        known.add(run)
    return new


@dataclass(frozen=True, slots=True)
class Read:
    """What the model made of one answer."""

    logp: np.ndarray
    """[n] float64 log-probs of its tokens given its prompt, in nats."""
    fresh: np.ndarray
    """[n] bool."""


def read(loaded: Loaded, prompts: Sequence[Completion], answers: Sequence[str]) -> list[Read | None]:
    """Each answer's tokens as the model sees them; None for an answer without any.

    Equal prompts are read once. How answers share forward passes changes nothing but the last bits.
    """
    import torch

    from groupwise.policies import LanguagePolicy
    from groupwise.trajectory import PolicyTag, StopReason, Trajectory, Turn

    def trajectory(member: _Member) -> Trajectory:
        turn = Turn(member.prompt, member.answer, np.zeros(len(member.answer), dtype=np.float32))
        return Trajectory((turn,), PolicyTag(), StopReason.FINISHED)

    policy = LanguagePolicy(loaded.model)
    found: list[Read | None] = [None] * len(answers)
    for batch in _batches(_members(loaded, prompts, answers)):
        with torch.no_grad():
            scores = policy.score(policy.inputs([(m.group, trajectory(m)) for m in batch]))
        logp = scores.logp.cpu().numpy().astype(np.float64)
        ends = np.cumsum([len(m.answer) for m in batch])
        for m, part in zip(batch, np.split(logp, ends[:-1]), strict=True):
            found[m.row] = Read(part, fresh(m.prompt.tolist(), m.answer.tolist()))
    return found


@dataclass(frozen=True, slots=True)
class _Member:
    row: int
    group: int
    prompt: np.ndarray
    answer: np.ndarray


def _members(loaded: Loaded, prompts: Sequence[Completion], answers: Sequence[str]) -> list[_Member]:
    """The answers that have tokens, siblings together."""
    most = min(TOKENS, loaded.model.context // 2)
    groups: dict[tuple[int, ...], int] = {}
    members = []
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids = loaded.tokenizer.encode(answer, add_special_tokens=False, split_special_tokens=True)[:most]
        if ids:
            before = tuple(prompt_tokens(loaded.tokenizer, prompt)[-(loaded.model.context - most) :])
            group = groups.setdefault(before, len(groups))
            members.append(_Member(row, group, np.array(before), np.array(ids)))
    return sorted(members, key=lambda member: member.group)


def _batches(members: Sequence[_Member]) -> Iterator[list[_Member]]:
    """Runs of at most `BUDGET` tokens, a prompt counted once for neighbours that share it."""
    batch: list[_Member] = []
    used = 0
    for member in members:
        alone = len(member.prompt) + len(member.answer)
        cost = len(member.answer) if batch and batch[-1].group == member.group else alone
        if batch and used + cost > BUDGET:
            yield batch
            batch, used, cost = [], 0, alone
        batch.append(member)
        used += cost
    if batch:
        yield batch
