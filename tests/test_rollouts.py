"""How a prompt becomes tokens: text as it stands, conversations by template, begun answers continued."""

from dataclasses import replace

import pytest

import tiny
import tiny_folder
from groupwise.engine.generate import PromptError
from groupwise.engine.model import CausalLM
from groupwise.engine.sampling import Sampling
from groupwise.groups import Order
from groupwise.policies import LanguagePolicy
from groupwise.rollouts import TextSampler
from groupwise.trajectory import Group, PolicyTag, Prompt


def sampler(chat: bool = True) -> TextSampler:
    policy = LanguagePolicy(CausalLM(tiny.plain("llama")))
    return TextSampler(policy, tiny_folder.tokenizer(chat=chat), Sampling(max_new_tokens=3), seed=0)


def read(content: object, chat: bool = True) -> str:
    """The text of the tokens that the model is given."""
    it = sampler(chat)
    return it.tokenizer.decode(it.tokens(Prompt(0, content)))  # type: ignore[arg-type]


USER = {"role": "user", "content": "2 + 3"}


def test_text_is_read_as_it_stands() -> None:
    assert read("2 + 3 =") == "2 + 3 ="


def test_a_question_is_followed_by_the_opening_of_an_answer() -> None:
    assert read([USER]) == "<user>2 + 3<it>"


@pytest.mark.parametrize("begun", ["so", "2 + 3 = "])
def test_a_begun_answer_is_continued_and_not_closed(begun: str) -> None:
    """The space at the end stays: the answer's first token follows it."""
    assert read([USER, {"role": "assistant", "content": begun}]) == f"<user>2 + 3<it>{begun}"


def test_messages_without_a_template_are_refused_with_the_way_out() -> None:
    with pytest.raises(PromptError, match="has no chat template"):
        read([USER], chat=False)


def test_a_number_is_not_a_prompt_for_a_language_model() -> None:
    with pytest.raises(PromptError, match="prompt 0 is the number 7"):
        read(7)


def test_siblings_share_one_array_of_what_they_read_and_carry_the_version() -> None:
    it = sampler()
    it.load(version=5)
    [group] = it.collect([Order(Prompt(3, "2 + 3"), 4)])
    assert len({id(t.turns[0].observation) for t in group.trajectories}) == 1
    assert {t.policy for t in group.trajectories} == {PolicyTag("current", 5)}
    assert all(t.n_decisions == len(t.behaviour_logp) <= 3 for t in group.trajectories)


def test_greedy_answers_do_not_depend_on_the_seed() -> None:
    first, second = sampler(), sampler()
    second._seed = 99
    orders = [Order(Prompt(0, "2 + 3"), 1)]
    texts = [s.collect(orders, greedy=True)[0].trajectories[0].text for s in (first, second)]
    assert texts[0] == texts[1]


def test_a_group_is_told_as_soon_as_its_last_answer_is_written() -> None:
    """Once each, whole, as it is given back in the end; a group that the rows cannot hold at once, too."""
    it = sampler()
    it.sampling = replace(it.sampling, max_rows=2)
    done, told = [0], list[tuple[int, Group]]()
    orders = [Order(Prompt(i, f"2 + {i}"), count) for i, count in enumerate((2, 5, 2))]
    cohort = it.collect(
        orders,
        progress=lambda n, total: done.append(n),
        finished=lambda group: told.append((done[-1], group)),
    )
    assert [len(group.trajectories) for group in cohort] == [2, 5, 2]
    assert [(n, id(group)) for n, group in told] == [
        (n, id(g)) for n, g in zip((2, 7, 9), cohort, strict=True)
    ]
