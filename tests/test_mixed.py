"""Groups that several tiny models write: who writes what, with which random numbers and which log-probs."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
import tiny_folder
from groupwise import metrics, packing
from groupwise.advantages import assign
from groupwise.engine.model import CausalLM
from groupwise.engine.sampling import Sampling
from groupwise.engine.scheduler import Request
from groupwise.gauge import LEAST, WINDOW, Gauge
from groupwise.groups import Order
from groupwise.learner import Learner, Optimization
from groupwise.mixed import MixedSampler, Writer, logp_under
from groupwise.mixtures import balance, log_mixture, log_weight, per_source, uncorrected
from groupwise.policies import LanguagePolicy
from groupwise.recipes import MIXED
from groupwise.rewards.scoring import Reward, TrainerState, score
from groupwise.rollouts import TextSampler
from groupwise.seats import parse
from groupwise.sources import Fixed
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason

WORDS = tiny_folder.tokenizer()
ORDERS = [Order(Prompt(3, "2 + 3 ="), 6), Order(Prompt(4, "why?"), 6)]
SEATS = "a:2,current:3,b:1"


@functools.cache
def model(seed: int) -> Any:
    return CausalLM(tiny_folder.model(len(WORDS), seed=seed))


def policy(seed: int) -> LanguagePolicy:
    return LanguagePolicy(model(seed), temperature=0.7)


def text_sampler(seed: int = 0) -> TextSampler:
    return TextSampler(policy(seed), WORDS, Sampling(max_new_tokens=7, temperature=0.7), seed=1)


class Absent:
    """A policy that is not there before some step."""

    def __init__(self, name: str, since: int, seed: int = 1) -> None:
        self.writer, self.since = Writer(policy(seed), PolicyTag(name, 2)), since

    def at(self, version: int) -> Writer | None:
        return self.writer if version >= self.since else None


def mixed(
    seats: str = SEATS,
    ratios: Any = balance,
    budget: int = 1000,
    said: list[str] | None = None,
    **others: Any,
) -> MixedSampler:
    sources = {"a": Fixed("a", policy(1), step=50), "b": Fixed("b", policy(2))} | others
    say = (lambda _: None) if said is None else said.append
    return MixedSampler(text_sampler(), parse(seats), sources, ratios, 1000, say)


def tokens(group: Group) -> list[list[int]]:
    return [t.turns[0].decisions.tolist() for t in group.trajectories]


def by_full_forward(seed: int, trajectory: Any) -> np.ndarray:
    """[T] log-probs at the temperature by the model's own attention, in float64."""
    plain = tiny_folder.model(len(WORDS), seed=seed).double()
    prompt, answer = (
        part.tolist() for part in (trajectory.turns[0].observation, trajectory.turns[0].decisions)
    )
    with torch.no_grad():
        logits = tiny.logits(plain, [*prompt, *answer])[len(prompt) - 1 : -1] / 0.7
    return logits.log_softmax(-1)[range(len(answer)), answer].numpy()


# ---------------------------------------------------------------------------- who writes


def test_each_seat_is_written_by_its_policy_with_the_numbers_of_its_place() -> None:
    """Place k of a group has the random numbers of sample k, whatever the others write."""
    sampler = mixed()
    sampler.load(9)
    cohort = sampler.collect(ORDERS)
    tags = [PolicyTag("a", 50)] * 2 + [PolicyTag("current", 9)] * 3 + [PolicyTag("b", 0)]
    for group, order in zip(cohort, ORDERS, strict=True):
        assert [t.policy for t in group.trajectories] == tags
        assert len({id(t.turns[0].observation) for t in group.trajectories}) == 1, "the prompt exists once"
        alone = text_sampler()
        read = alone.tokens(order.prompt)
        for seed, first, count in ((1, 0, 2), (0, 2, 3), (2, 5, 1)):
            [answers] = alone.write(model(seed), [Request(read, count, order.prompt.ordinal, first)])
            assert tokens(group)[first : first + count] == [list(a.tokens) for a in answers]


def test_the_order_of_the_orders_changes_no_answer() -> None:
    there, back = mixed().collect(ORDERS), mixed().collect(ORDERS[::-1])[::-1]
    assert [tokens(g) for g in there] == [tokens(g) for g in back]


def test_held_out_prompts_are_the_current_policys_alone() -> None:
    orders = [Order(Prompt(3, "2 + 3 ="), 1)]
    [group] = mixed().collect(orders, greedy=True)
    [own] = text_sampler().collect(orders, greedy=True)
    assert tokens(group) == tokens(own)
    assert group.trajectories[0].policy == PolicyTag()
    assert group.trajectories[0].proximal_logp is None


def test_seats_of_a_policy_that_is_not_there_yet_are_the_current_ones_and_it_is_said_once() -> None:
    said: list[str] = []
    sampler = mixed(said=said, b=Absent("b", since=2))
    own = text_sampler().collect(ORDERS)
    for version in (0, 1):
        sampler.load(version)
        cohort = sampler.collect(ORDERS)
        names = [t.policy.name for t in cohort[0].trajectories]
        assert names == ["a", "a", "current", "current", "current", "current"]
        assert tokens(cohort[0])[5] == tokens(own[0])[5], "with the numbers of that place"
    sampler.load(2)
    assert sampler.collect(ORDERS)[0].trajectories[5].policy == PolicyTag("b", 2)
    assert said == ["there is no b yet: the current policy writes its answers until then"]


def test_progress_counts_all_writers_together() -> None:
    seen: list[tuple[int, int]] = []
    mixed().collect(ORDERS, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (12, 12)
    assert seen == sorted(seen)


def test_groups_are_told_whole_before_they_are_weighed() -> None:
    """Rewards that begin with them see what is scored in the end: the same answers, in the same seats."""
    told: list[Group] = []
    cohort = mixed().collect(ORDERS, finished=told.append)
    assert [tokens(g) for g in told] == [tokens(g) for g in cohort]
    assert all(t.proximal_logp is None for g in told for t in g.trajectories)
    told.clear()
    mixed().collect(ORDERS, greedy=True, finished=told.append)
    assert [g.prompt for g in told] == [order.prompt for order in ORDERS]


# ---------------------------------------------------------------------------- what they are weighed by


def test_every_answer_has_the_exact_mixture_and_the_current_policys_log_probs() -> None:
    """Against plain full forwards in float64: every policy scores every answer, at the temperature."""
    for group in mixed().collect(ORDERS):
        for t in group.trajectories:
            a, current, b = (by_full_forward(seed, t) for seed in (1, 0, 2))
            assert t.proximal_logp == pytest.approx(current, abs=2e-5)
            assert t.behaviour_logp == pytest.approx(
                log_mixture(np.stack([a, current, b]), (2, 3, 1)), abs=3e-5
            )
            assert t.own_logp == pytest.approx({"a": a, "current": current, "b": b}[t.policy.name], abs=2e-5)
            assert math.exp(log_weight(t)) <= 6 / 3 * (1 + 1e-5), "bounded by the current policy's share"


def test_per_source_divides_by_the_writer_and_uncorrected_by_nothing() -> None:
    for t in mixed(ratios=per_source).collect(ORDERS)[0].trajectories:
        np.testing.assert_array_equal(t.behaviour_logp, t.own_logp)
        assert t.proximal_logp == pytest.approx(by_full_forward(0, t), abs=2e-5)
    for t in mixed(ratios=uncorrected).collect(ORDERS)[0].trajectories:
        assert log_weight(t) == 0
        assert t.proximal_logp == pytest.approx(by_full_forward(0, t), abs=2e-5)


def test_the_current_policys_own_answers_keep_what_was_recorded() -> None:
    """Their weight is then exactly bounded, and 1 per source: not off by the rounding of a second pass."""
    for t in mixed(ratios=per_source).collect(ORDERS)[0].trajectories[2:5]:
        assert log_weight(t) == 0


def test_micro_batches_do_not_change_log_probs() -> None:
    members = [(i, t) for i, g in enumerate(mixed().collect(ORDERS)) for t in g.trajectories]
    whole, cut = (logp_under(policy(5), members, budget) for budget in (10_000, 20))
    for one, other, (_, t) in zip(whole, cut, members, strict=True):
        assert len(one) == t.n_decisions
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert logp_under(policy(5), [], 100) == []


def test_a_step_of_learning_begins_at_the_mixtures_weights() -> None:
    """From seats to the optimizer: the learner sees the proximal policy where it is, and other weights."""
    cohort = mixed().collect(ORDERS)
    digits = Reward("digits", lambda completions, **_: [float(sum(map(str.isdigit, c))) for c in completions])
    cohort = assign(score(cohort, [digits], TrainerState()).cohort, MIXED.advantage)
    batch = packing.pack(cohort, MIXED, policy(0), 1000)
    assert batch is not None
    learner = Learner(LanguagePolicy(CausalLM(tiny_folder.model(len(WORDS))), 0.7), Optimization())
    update = learner.step(batch, MIXED, 1).metrics
    assert update["ratio"] == pytest.approx(1, abs=1e-4)
    assert update["sampling/logp_difference/max"] < 1e-4
    assert update["correction"] != pytest.approx(1, abs=1e-3)


# ---------------------------------------------------------------------------- broken policies


class Broken(LanguagePolicy):
    """Scores with NaN what begins with a certain token."""

    token = 0

    def score(self, inputs: Any, entropy_gradient: bool = False) -> Any:
        scores = super().score(inputs, entropy_gradient)
        hit = inputs.decisions == self.token
        return replace(scores, logp=torch.where(hit, torch.nan, scores.logp))


def test_an_answer_with_a_log_prob_that_is_no_number_is_left_out_and_counted() -> None:
    healthy = mixed().collect(ORDERS)
    broken = Broken(model(1), 0.7)
    broken.token = tokens(healthy[0])[5][0]
    cohort = mixed(a=Fixed("a", broken)).collect(ORDERS)
    others = [t for g in cohort for t in g.trajectories if t.policy.name != "a"]
    for t in others:
        assert (t.stopped is StopReason.ERROR) == (broken.token in t.turns[0].decisions)
    assert cohort[0].trajectories[5].stopped is StopReason.ERROR
    assert any(t.stopped is not StopReason.ERROR for t in others)
    ones = Reward("one", lambda completions, **_: [1.0] * len(completions))
    scored = score(cohort, [ones], TrainerState()).cohort
    assert scored[0].trajectories[5].reward is None
    assert metrics.of_cohort(scored)["stopped/error"] > 0


def test_a_policy_that_cannot_write_loses_its_seats_in_the_same_step() -> None:
    module = tiny_folder.model(len(WORDS), seed=1)
    sick = LanguagePolicy(CausalLM(module), 0.7)
    with torch.no_grad():
        module.lm_head.weight.fill_(torch.nan)
    said: list[str] = []
    sampler = mixed(said=said, a=Fixed("a", sick))
    [group, _] = sampler.collect(ORDERS)
    assert [t.policy.name for t in group.trajectories] == ["current"] * 5 + ["b"]
    assert sampler.memory()["dropped"] == {"a": 1}
    assert len(said) == 1
    assert said[0].startswith("step 1: a cannot write")


def test_the_current_policy_that_cannot_write_ends_the_run() -> None:
    module = tiny_folder.model(len(WORDS))
    own = TextSampler(LanguagePolicy(CausalLM(module)), WORDS, Sampling(max_new_tokens=3), 0)
    with torch.no_grad():
        module.lm_head.weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="not finite"):
        MixedSampler(own, parse("current:2"), {}, balance, 100).collect([Order(Prompt(0, "a"), 2)])


# ---------------------------------------------------------------------------- dropping


FAR, NEAR = np.array([0.0] + [-30.0] * 15), np.zeros(16)
"""Log-weights of sixteen answers of which one counts, and of which all do."""


def test_a_policy_falls_when_its_answers_hardly_counted_over_a_window() -> None:
    gauge = Gauge()
    assert [gauge.falls("x", FAR, 16, step) for step in range(1, WINDOW + 1)] == [False] * (WINDOW - 1) + [
        True
    ]
    assert gauge.dropped == {"x": WINDOW}
    assert LEAST > 1 / 16


def test_one_good_step_in_the_window_saves_it() -> None:
    gauge = Gauge()
    steps = [FAR] * (WINDOW - 1) + [NEAR] + [FAR] * (WINDOW - 1)
    assert not any(gauge.falls("x", w, 16, i) for i, w in enumerate(steps))
    assert gauge.falls("x", FAR, 16, 99)


def test_answers_without_a_weight_count_as_none() -> None:
    gauge = Gauge()
    assert [gauge.falls("x", np.zeros(0), 2, step) for step in range(WINDOW)][-1]
    gauge = Gauge()
    assert not any(gauge.falls("x", np.zeros(1), 2, step) for step in range(3 * WINDOW))


def test_few_answers_a_step_are_judged_by_the_window() -> None:
    """Two answers have an effective share of at least a half; ten of five steps can show less."""
    gauge = Gauge()
    steps = [np.array([0.0, -30.0])] + [np.array([-30.0, -30.0])] * (WINDOW - 1)
    assert [gauge.falls("x", w, 2, i) for i, w in enumerate(steps)][-1] == (1 / (2 * WINDOW) < LEAST)


def test_a_step_that_is_collected_in_parts_is_one_step() -> None:
    parts, whole = Gauge(), Gauge()
    for half in (FAR[:8], FAR[8:]):
        assert not any(parts.falls("x", half, 8, step) for step in (3, 3, 3))
    whole.falls("x", np.concatenate([FAR[:8]] * 3 + [FAR[8:]] * 3), 48, 3)
    assert parts.memory()["sums"]["x"] == [pytest.approx(whole.memory()["sums"]["x"][0])]


def test_what_is_remembered_survives_json_exactly() -> None:
    gauge = Gauge()
    gauge.falls("x", np.array([0.1, -1 / 3]), 2, 1)
    gauge.dropped["y"] = 4
    memory: Mapping[str, Any] = json.loads(json.dumps(gauge.memory()))
    assert Gauge.of(memory).memory() == gauge.memory() == memory
    assert Gauge.of({}).memory() == {"dropped": {}, "sums": {}}


def test_a_dropped_policy_stays_dropped_after_a_resume() -> None:
    said: list[str] = []
    sampler = mixed(said=said)
    sampler.recall({"dropped": {"a": 7}, "sums": {}})
    sampler.load(9)
    [group, _] = sampler.collect(ORDERS)
    assert [t.policy.name for t in group.trajectories] == ["current"] * 5 + ["b"]
    assert tokens(group)[:2] == tokens(text_sampler().collect(ORDERS)[0])[:2]
    assert said == ["a lost its seats at step 7 and does not get them back"]


def test_a_policy_far_away_is_dropped_in_the_course_of_steps_and_it_is_said() -> None:
    """Very sharp logits: nothing that it writes is likely for the current policy. The memory forgets it."""
    module = tiny_folder.model(len(WORDS), seed=8)
    with torch.no_grad():
        module.lm_head.weight.mul_(60)
    said: list[str] = []
    far = Fixed("a", LanguagePolicy(CausalLM(module), 0.7))
    sampler = mixed(said=said, seats="current:2,a:4", a=far)
    kept: list[Mapping[str, Any]] = []
    for step in range(1, 30):
        sampler.load(step - 1)
        cohort = sampler.collect([Order(Prompt(100 * step + i, "2 + 3 ="), 6) for i in range(4)])
        kept.append(sampler.memory())
        if said:
            break
    assert len(said) == 1
    assert "too far from the current policy" in said[0]
    assert said[0].startswith(f"step {step}: ")
    assert kept[-2]["dropped"] == {}, "what was handed out before has not changed"
    assert kept[-1] == {"dropped": {"a": step}, "sums": {}}
    assert cohort[0].trajectories[2].policy.name == "a"


# ---------------------------------------------------------------------------- numbers


def test_numbers_of_every_policy_by_hand() -> None:
    [group] = mixed("current:1,a:2").collect([Order(Prompt(3, "2 + 3 ="), 3)])
    gaps = (0.0, math.log(1), math.log(3))
    members = tuple(
        replace(
            t,
            reward=r,
            advantage=np.full(t.n_decisions, r - 1),
            mixture_logp=np.zeros(t.n_decisions),
            proximal_logp=np.full(t.n_decisions, gap / t.n_decisions),
        )
        for t, r, gap in zip(group.trajectories, (1.0, 2.0, 5.0), gaps, strict=True)
    )
    numbers = metrics.of_cohort([replace(group, trajectories=members)])
    found = {name: value for name, value in numbers.items() if name.startswith("sources/")}
    assert found == pytest.approx(
        {
            "sources/current/count": 1,
            "sources/current/reward": 1,
            "sources/current/advantage": 0,
            "sources/current/log_weight": 0,
            "sources/current/ess": 1,
            "sources/a/count": 2,
            "sources/a/reward": 3.5,
            "sources/a/advantage": 2.5,
            "sources/a/log_weight": math.log(3) / 2,
            "sources/a/ess": 16 / 10 / 2,
        },
        abs=1e-6,
    )


def test_every_number_is_in_the_documentation_and_there_is_none_without_seats() -> None:
    text = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text()
    for name in metrics.of_cohort(mixed().collect(ORDERS)):
        if name.startswith("sources/"):
            assert f"`sources/NAME/{name.rpartition('/')[2]}`" in text
    assert not any(n.startswith("sources/") for n in metrics.of_cohort(text_sampler().collect(ORDERS)))
