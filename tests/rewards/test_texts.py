"""Which text of a completion is its answer."""

from groupwise.rewards.answers import ascii_end, hyphened
from groupwise.rewards.texts import text_of
from groupwise.rewards.words import plain


def test_the_answer_of_a_conversation_is_what_the_policy_said_last() -> None:
    assert text_of("plain") == "plain"
    assert text_of([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]) == "a"
    closed = [{"role": "assistant", "content": "a"}, {"role": "user", "content": "You lost."}]
    assert text_of(closed) == "a", "the environment's words are not the policy's"
    parts = [{"type": "image"}, {"type": "text", "text": "seen"}]
    assert text_of([{"role": "assistant", "content": parts}]) == "seen"
    assert text_of([{"role": "assistant", "content": None}]) == text_of([]) == ""


def test_three_ways_to_read_a_text_are_three_on_purpose() -> None:
    """Words keep their letters and lose what is not seen; numbers become ASCII; a sum keeps the rest."""
    text = "\ufb01ne \u22125\u200b ４２ ٤"
    assert plain(text) == "fine \u22125 42 ٤"
    assert ascii_end(text) == "\ufb01ne -5 42 4"
    assert hyphened([{"role": "assistant", "content": text}]) == text.replace("\u2212", "-")
