"""Conversations as trajectories: exact tokens, rewards where they fall, limits, failures that are data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from envs import worlds
from envs.worlds import order, sampler
from groupwise.advantages import assign, returns_to_go
from groupwise.engine.generate import PromptError
from groupwise.envs.conversation import ConversationSampler, CutWarning, FailedConversationsWarning
from groupwise.envs.text import WorldError, returned
from groupwise.metrics import of_cohort, samples_of
from groupwise.packing import pack
from groupwise.recipes import DAPO, GRPO
from groupwise.rewards.scoring import Reward, TrainerState, score
from groupwise.trajectory import Group, StopReason, Trajectory


def talk(world: Callable[[], Any], count: int = 4, **options: Any) -> Group:
    [group] = sampler(world, **options).collect([order(world, count=count)])
    return group


def tokens_of(trajectory: Trajectory) -> list[int]:
    return [
        t for turn in trajectory.turns for part in (turn.observation, turn.decisions) for t in part.tolist()
    ]


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize(
    ("world", "options", "cut"),
    [
        (worlds.Counting, {"max_new_tokens": 30}, False),
        (worlds.Begun, {"max_new_tokens": 30}, False),
        (worlds.Counting, {"max_new_tokens": 5}, True),
        (worlds.Endless, {"tokens": 57, "max_new_tokens": 25}, True),
        (worlds.Endless, {"turns": 3, "max_new_tokens": 40}, True),
    ],
)
@pytest.mark.parametrize("room", [200, 4096])
def test_the_learner_scores_what_the_sampler_decided_over_all_turns(
    world: Any, options: Any, cut: bool, room: int
) -> None:
    """Cache, template and packing together: the log-probs of the sampler are those of the learner.

    One entry for each decision in every vector of the batch: what was read has no loss, KL or entropy.
    """
    cohort = sampler(world, **options).collect([order(world, seed=i, count=6) for i in range(3)])
    every = [t for group in cohort for t in group.trajectories]
    assert max(len(t.turns) for t in every) > 1
    assert not cut or StopReason.LENGTH in {t.stopped for t in every if len(t.turns) > 1}
    scored = [
        replace(g, trajectories=tuple(replace(t, reward=float(i)) for i, t in enumerate(g.trajectories)))
        for g in cohort
    ]
    policy = worlds.policy()
    batch = pack(assign(scored, DAPO.advantage), GRPO, policy, room, policy.frozen())
    assert batch is not None
    assert (len(batch.pieces) > 1) == (room == 200)
    scores = [policy.score(piece.inputs) for piece in batch.pieces]
    logp, entropy = torch.cat([s.logp for s in scores]).detach(), torch.cat([s.entropy for s in scores])
    torch.testing.assert_close(logp, batch.behaviour_logp, rtol=0, atol=1e-5)
    assert batch.reference_logp is not None
    torch.testing.assert_close(batch.reference_logp, logp, rtol=0, atol=1e-5)
    decided = np.concatenate([turn.decisions for t in every for turn in t.turns])
    assert torch.cat([piece.inputs.decisions for piece in batch.pieces]).tolist() == decided.tolist()
    assert len(batch) == len(entropy) == len(decided) < sum(len(tokens_of(t)) for t in every)


def test_what_is_read_is_the_templates_rendering_of_what_was_said() -> None:
    """Between turns nothing is missing and nothing doubled, the token that ends a turn in particular."""
    words = worlds.tokenizer()
    compared = 0
    for t in talk(worlds.Counting, count=16, max_new_tokens=30).trajectories:
        said = [m["content"] for m in t.messages if m["role"] == "assistant"]
        plain = [turn.decisions[turn.decisions != 1] for turn in t.turns]
        if [words.encode(text) for text in said] != [tokens.tolist() for tokens in plain]:
            continue  # it said marks of the conversation, which a message does not hold
        compared += len(said) > 1
        opening = {"role": "user", "content": "q5"}
        whole = words.apply_chat_template([opening, *t.messages], tokenize=False)
        assert whole.startswith(words.decode(tokens_of(t)))
    assert compared > 3


def test_a_message_that_is_begun_is_gone_on_with() -> None:
    """The beginning is read and not decided, and the environment hears the whole message."""
    words = worlds.tokenizer()
    for t in talk(worlds.Begun, count=8, max_new_tokens=30).trajectories:
        said = [m["content"] for m in t.messages if m["role"] == "assistant"]
        assert len(said) == len(t.turns), "the beginning is no message of its own"
        for text, turn in zip(said, t.turns, strict=True):
            assert words.decode(turn.observation).endswith("<user>a\nI say ")
            assert text == "I say " + words.decode(turn.decisions, skip_special_tokens=True)
        heard = [m["content"] for m in t.messages if m["role"] == "user"]
        assert heard == [f"{len(text)}!" for text in said[: len(heard)]]


def test_siblings_share_one_array_of_the_prompt_and_one_world() -> None:
    group = talk(worlds.Global, max_new_tokens=30)
    assert len({id(t.turns[0].observation) for t in group.trajectories}) == 1
    replies = {t.messages[1]["content"] for t in group.trajectories if len(t.messages) > 1}
    assert len(replies) == 1, "the world draws the same for all of them"


def test_conversations_do_not_depend_on_how_many_are_held_at_once() -> None:
    orders = [order(worlds.Global, seed=i) for i in range(3)]
    runs = [sampler(worlds.Global, max_rows=n, max_new_tokens=20).collect(orders) for n in (2, 128)]
    few, all_ = ([[tokens_of(t) for t in g.trajectories] for g in groups] for groups in runs)
    assert few == all_


def test_greedy_conversations_do_not_depend_on_the_seed() -> None:
    one, two = (
        sampler(worlds.Counting, seed=seed).collect([order(worlds.Counting, count=1)], greedy=True)
        for seed in (0, 1)
    )
    assert tokens_of(one[0].trajectories[0]) == tokens_of(two[0].trajectories[0])


# ---------------------------------------------------------------- rewards


def test_a_turns_reward_comes_after_its_last_decision() -> None:
    group = talk(worlds.Counting, count=16, max_new_tokens=60)
    whole = [t for t in group.trajectories if t.stopped is StopReason.FINISHED]
    assert whole
    for t in whole:
        assert t.gained == 1 + 2 + 3
        for number, turn in enumerate(t.turns, 1):
            assert turn.rewards is not None
            assert turn.rewards[-1] == number
            assert np.isnan(turn.rewards[:-1]).all()
    rewards = torch.tensor([6.0] * len(whole), dtype=torch.float64)
    credit = returns_to_go(baseline=False)(rewards, Group(group.prompt, tuple(whole)))
    first = len(whole[0].turns[0].decisions)
    assert credit[0][:first].tolist() == [6.0] * first
    assert credit[0][first:][0] == 5.0, "the first turn's reward is no credit of the second"


def test_a_world_without_rewards_leaves_them_to_the_functions() -> None:
    class Quiet(worlds.Counting):
        def step(self, message: str) -> tuple[Any, float | None, bool]:
            reply, _, done = super().step(message)
            return reply, None, done

    group = talk(Quiet)
    assert all(turn.rewards is None for t in group.trajectories for turn in t.turns)
    assert group.trajectories[0].gained is None


# ---------------------------------------------------------------- limits


def test_the_limit_on_turns() -> None:
    group = talk(worlds.Endless, count=8, turns=2, max_new_tokens=40)
    assert max(len(t.turns) for t in group.trajectories) == 2
    assert {t.stopped for t in group.trajectories} == {StopReason.LENGTH}


@pytest.mark.parametrize("tokens", [40, 57, 160])
def test_no_conversation_is_longer_than_the_limit_or_the_context(tokens: int) -> None:
    """One longer than a micro-batch could not be trained on, one longer than the context not be read."""
    group = talk(worlds.Endless, count=8, turns=1000, tokens=tokens, max_new_tokens=25)
    lengths = [len(tokens_of(t)) for t in group.trajectories]
    assert max(lengths) <= tokens
    assert {t.stopped for t in group.trajectories} == {StopReason.LENGTH}
    assert of_cohort([group])["stopped/length"] == 1
    assert sampler(worlds.Endless, tokens=10**6).limits.tokens == 160


def test_a_turn_that_is_cut_is_heard_and_is_the_last() -> None:
    group = talk(worlds.Counting, count=8, max_new_tokens=2)
    cut = [t for t in group.trajectories if t.stopped is StopReason.LENGTH]
    assert cut
    assert all(len(t.turns[-1].decisions) == 2 and t.gained is not None for t in cut)


def test_an_opening_without_room_for_an_answer_is_refused_with_the_numbers() -> None:
    with pytest.raises(PromptError, match=r"conversation 5 has 10 tokens; with 12 .* is 22, .* have 20"):
        talk(worlds.Counting, tokens=20)


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("world", "words"),
    [
        (worlds.Raises, "KeyError: 'no such door'"),
        (worlds.Hangs, "OverdueError: no answer within 0.2 s"),
        (worlds.Exits, "it wanted to exit"),
        (worlds.NotANumber, "WorldError: a reward of nan"),
        (worlds.Silent, "WorldError"),
        (worlds.Nonsense, "WorldError: 7 is no text"),
        (worlds.WrongShape, "ValueError"),
        (worlds.Fickle, "WorldError: it does not begin as it did"),
    ],
)
def test_a_failing_world_costs_the_conversation_and_nothing_else(world: Any, words: str) -> None:
    failing = order(world, seed=1, count=3)
    good = order(worlds.Counting, seed=2, count=3)

    def either() -> Any:
        return _Either(world)

    with pytest.warns(FailedConversationsWarning, match=f"of 6 conversations failed, the first .*{words}"):
        groups = sampler(either, seconds=0.2, max_new_tokens=40).collect([failing, good])
    bad = [t for t in groups[0].trajectories if t.stopped is StopReason.ERROR]
    assert bad
    assert all(words in t.extra["error"] for t in bad)
    assert all(len(t.turns) == sum(m["role"] == "assistant" for m in t.messages) for t in bad)
    assert StopReason.ERROR not in {t.stopped for t in groups[1].trajectories}
    rewards = [Reward("return", returned), Reward("length", lengths)]
    scored = score(groups, rewards, TrainerState()).cohort
    assert all(t.reward is None for t in scored[0].trajectories if t.stopped is StopReason.ERROR)
    assert of_cohort(scored)["stopped/error"] == len(bad) / 6
    batch = pack(assign(scored, DAPO.advantage), DAPO, worlds.policy(), 4096)
    assert batch is not None
    whole = [t for g in scored for t in g.trajectories if t.stopped is not StopReason.ERROR]
    assert len(batch) <= sum(t.n_decisions for t in whole)
    assert len(list(samples_of(scored))) == 6


def test_conversations_that_are_cut_in_their_first_turn_are_told_once() -> None:
    """They are no conversations, and nothing else says so."""
    held, asked = sampler(worlds.Counting, max_new_tokens=1), [order(worlds.Counting, count=8)]
    with pytest.warns(CutWarning, match=r" of 8 conversations ended with their first turn.*new-tokens 1:"):
        held.collect(asked)
    held.collect(asked)  # warnings are errors here
    sampler(worlds.Counting, turns=1, max_new_tokens=1).collect(asked)


def test_a_failure_names_the_line_of_the_users_code() -> None:
    """ "KeyError: 'no such shelf'" alone is looked for in every file."""
    with pytest.warns(FailedConversationsWarning, match=r"no such door' \(.*worlds\.py:\d+\)"):
        talk(worlds.Raises, count=8)


def test_an_environment_that_only_fails_ends_the_run_with_its_reason() -> None:
    """Nothing could be learnt; a run of nothing but failures would go on in silence."""
    with pytest.raises(WorldError, match=r"all of 4 .* the first with: RuntimeError: it wanted"):
        talk(worlds.Exits)


def test_one_that_only_hangs_is_not_waited_for_again_and_again() -> None:
    with pytest.raises(WorldError, match=r"all of 16 .* OverdueError: no answer within 0.01 s"):
        talk(worlds.Stuck, count=40, seconds=0.01)


def lengths(completions: Any, **_: Any) -> list[float]:
    """Siblings differ in it."""
    return [float(len(str(completion))) for completion in completions]


class _Either:
    """A failing world for the row of seed 1, and a good one for others."""

    def __init__(self, world: Any) -> None:
        self._world, self._env = world, None

    def reset(self, row: Any) -> Any:
        self._env = self._world() if row["seed"] == 1 else worlds.Counting()
        return self._env.reset(row)

    def step(self, message: str) -> Any:
        assert self._env is not None
        return self._env.step(message)


class Shown(worlds.Counting):
    """An example with a tool's result stands in the opening."""

    def reset(self, row: Any) -> Any:
        user = {"role": "user", "content": super().reset(row)}
        return [user, {"role": "assistant", "content": "c"}, {"role": "tool", "content": "4"}, user]


def test_a_template_of_three_roles_reads_an_example_of_a_tool() -> None:
    held, words = sampler(Shown), worlds.tokenizer()
    roles = "{'user': 'u', 'assistant': 'a'}[m['role']]"
    words.chat_template = worlds.CHATML.replace("m['role'][:1]", roles)
    made = ConversationSampler(held.policy, words, held.sampling, 0, Shown, held.limits)
    [group] = made.collect([order(Shown)])
    assert words.decode(group.trajectories[0].turns[0].observation).count("<user>u") == 3
