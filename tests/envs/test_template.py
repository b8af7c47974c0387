"""What follows an answer: the template's own tokens, after those that were said; or a refusal."""

from __future__ import annotations

from typing import Any

import pytest

import tiny_folder
from groupwise.envs.template import Continuation
from groupwise.envs.text import Message, WorldError

CHATML = (
    "{% for m in messages %}{{ '<user>' + m['role'] + '\n' + m['content'] + '<eos>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<user>assistant\n' }}{% endif %}"
)
"""Like ChatML: a token opens a message, another ends it, and a line break follows."""
OPENING: list[Message] = [{"role": "user", "content": "a?"}]
EOS = 1


def tokenizer(template: str = CHATML) -> Any:
    words = tiny_folder.tokenizer()
    words.chat_template = template
    return words


def after(words: Any, replies: list[Message], last: int, opening: list[Message] = OPENING) -> str:
    return str(words.decode(Continuation(words, "tiny")(opening, replies, last)))


def test_the_end_token_that_the_model_decided_is_not_read_again() -> None:
    """Twice would be a token that no template has; none would join two turns."""
    words = tokenizer()
    reply = [{"role": "user", "content": "b"}]
    assert after(words, reply, EOS) == "\n<user>user\nb<eos>\n<user>assistant\n"
    x = words.encode("x")[0]
    assert after(words, reply, x) == "<eos>\n<user>user\nb<eos>\n<user>assistant\n"
    assert Continuation(words, "tiny").ends == {EOS}


def test_said_and_read_together_are_the_templates_own_rendering() -> None:
    words = tokenizer()
    replies = [{"role": "tool", "content": "4"}, {"role": "user", "content": "and?"}]
    first = words.apply_chat_template(OPENING, add_generation_prompt=True, return_dict=False)
    said = [*words.encode("one"), EOS]
    read = Continuation(words, "tiny")(OPENING, replies, said[-1])
    whole = [*OPENING, {"role": "assistant", "content": "one"}, *replies]
    expected = words.apply_chat_template(whole, add_generation_prompt=True, return_dict=False)
    assert [*first, *said, *read] == list(expected)


def test_a_template_without_a_token_that_ends_turns_is_served() -> None:
    words = tokenizer(tiny_folder.CHAT)
    assert after(words, [{"role": "user", "content": "b"}], EOS) == "<user>b<it>"
    assert Continuation(words, "tiny").ends == frozenset()


def test_an_answer_that_the_opening_began_is_gone_on_with() -> None:
    begun = [*OPENING, {"role": "assistant", "content": "so "}]
    text = after(tokenizer(), [{"role": "user", "content": "b"}], EOS, begun)
    assert text == "\n<user>user\nb<eos>\n<user>assistant\n"


def test_words_of_the_template_in_a_message_do_not_deceive() -> None:
    opening = [{"role": "user", "content": "Placeholder"}]
    reply = [{"role": "user", "content": "Placeholder1"}]
    assert after(tokenizer(), reply, EOS, opening).startswith("\n<user>user\nPlaceholder1<eos>")


@pytest.mark.parametrize(
    "template",
    [CHATML.replace("m['role'] +", "{'user':'user','assistant':'assistant'}[m['role']] +"), tiny_folder.CHAT],
)
def test_a_tools_result_is_the_users_where_the_template_knows_no_tools(template: str) -> None:
    """Without this a result would stand there without a mark of who says it, or the template would raise."""
    text = after(tokenizer(template), [{"role": "tool", "content": "4"}], EOS)
    assert text.startswith(("\n<user>user\n", "<user>"))
    assert text.replace("<unk>", "").count("tool_response") == 2


def test_a_result_in_the_opening_is_the_users_too() -> None:
    """Examples of calls stand in openings; with three roles the calculator's would end a run."""
    call: list[Message] = [{"role": "assistant", "content": "c"}, {"role": "tool", "content": "4"}]
    opening = [*OPENING, *call, {"role": "assistant", "content": "4"}, *OPENING]
    words = tokenizer(tiny_folder.CHAT)
    assert after(words, [{"role": "user", "content": "b"}], EOS, opening) == "<user>b<it>"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        # asked to begin after a thought that the history has not
        (CHATML.replace("assistant\n' }}{% endif", "assistant\n(hm)' }}{% endif"), "another way once it has"),
        # the last answer alone is marked
        (CHATML.replace("m['content']", "m['content'] + ('!' if loop.index > messages | length - 3 else '')"),
         "earlier turns in another way"),
        # answers are left out
        (CHATML.replace("m['content']", "(m['content'] if m['role'] == 'user' else '')"), "in another way"),
        ("{{ raise_exception('no') }}", "refuses a conversation of user"),
    ],
)  # fmt: skip
def test_a_template_that_rewrites_what_was_said_is_refused(template: str, words: str) -> None:
    """Ratios would be of decisions made on another text than the learner reads."""
    with pytest.raises(WorldError, match=words):
        Continuation(tokenizer(template), "tiny")


def test_no_template_is_refused() -> None:
    with pytest.raises(WorldError, match="has no chat template"):
        Continuation(tiny_folder.tokenizer(chat=False), "tiny")


def test_a_template_that_drops_thinking_is_noticed() -> None:
    drops = CHATML.replace("m['content']", "m['content'].split('</think>')[-1]")
    assert Continuation(tokenizer(drops), "tiny").drops_thinking
    assert not Continuation(tokenizer(), "tiny").drops_thinking
