"""A substituted passage contradicts the world, and leaves no trace of what it said."""

import re
import string
from collections import Counter
from itertools import pairwise

import pytest

from groupwise.rewards.squad import normalised
from groupwise.tasks.grounded import XQUAD
from groupwise.tasks.squad import Question, excerpt, read_questions
from groupwise.tasks.substitution import MONTHS, Changed, Names, kind_of, names_of, substituted

QUESTIONS = [excerpt(q, 70) for q in read_questions(str(XQUAD))]
NAMES = names_of(QUESTIONS)
ALL = [(q, new) for q in QUESTIONS for seed in (0, 1) if (new := substituted(q, NAMES, seed))]


def asked(context: str, question: str, *answers: str, title: str = "t") -> Question:
    return Question(title, context, question, answers, context.index(answers[0]))


def changed(context: str, question: str, *answers: str, names: Names | None = None) -> Changed | None:
    return substituted(asked(context, question, *answers), names or {}, 0)


# ---------------------------------------------------------------------------- all that is shipped


def test_so_many_answers_of_each_kind_are_replaced() -> None:
    """The data are fixed, so a rule that starts to miss or to take too much shows here."""
    assert Counter(kind_of(q) for q, _ in ALL) == {"number": 300, "person": 114, "place": 10, "group": 10}


def test_no_trace_of_the_old_answer_is_left() -> None:
    """Searched for in another way than the code does it: as a run of normalised words, and as plain text."""
    for q, new in ALL:
        text = f"{new.question.context} {new.question.question}"
        for old in new.old:
            assert f" {normalised(old)} " not in f" {normalised(text)} ", (q, new)
            if not any(c.isdigit() for c in old):
                assert not re.search(rf"\b{re.escape(old)}\b", text, re.IGNORECASE)


def test_the_new_answer_stands_where_it_is_said_to_and_was_not_there_before() -> None:
    for q, new in ALL:
        answer = new.question.answers[0]
        assert new.question.context.startswith(answer, new.question.at)
        assert normalised(answer) not in {normalised(old) for old in q.answers}
        assert f" {normalised(answer)} " not in f" {normalised(f'{q.context} {q.question}')} "


def test_nothing_else_is_changed() -> None:
    """Word by word: only words of the old answer differ, and what is there instead is of the new one."""
    for q, new in ALL:
        old_words = {w for old in new.old for w in pieces(old)}
        new_words = set(pieces(new.question.answers[0]))
        for a, b in ((q.context, new.question.context), (q.question, new.question.question)):
            assert len(pieces(a)) == len(pieces(b))
            for was, now in zip(pieces(a), pieces(b), strict=True):
                assert was == now or (was in old_words and now in new_words), (was, now)


def pieces(text: str) -> list[str]:
    return [p for p in re.split(r"[^\w.,:]+|(?<!\d)[.,:]|[.,:](?!\d)", text.lower()) if p]


def test_a_number_keeps_its_shape() -> None:
    for q, new in ALL:
        if kind_of(q) != "number":
            continue
        old, answer = q.answers[0], new.question.answers[0]
        if any(c.isdigit() for c in old) and not any(month in old for month in MONTHS):
            assert shape(old) == shape(answer)
        figures, others = ([float(n.replace(",", "")) for n in found(a)] for a in (old, answer))
        assert ":" in old or [a < b for a, b in pairwise(figures)] == [a < b for a, b in pairwise(others)]
        if "%" in old:
            assert max(others) <= 100
        if re.search(r"\byear\b|^When", q.question) and re.fullmatch(r"\d{4}", old):
            assert 2 <= abs(int(old) - int(answer)) <= 30


def shape(text: str) -> str:
    return re.sub(r"\d", "9", text)


def found(text: str) -> list[str]:
    return re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", text)


def test_a_name_is_one_of_the_same_kind_and_length() -> None:
    kinds = {name: kind for (kind, _), names in NAMES.items() for name in names}
    for q, new in ALL:
        if kind_of(q) != "number":
            name = new.question.answers[0].removeprefix("the ")
            assert kinds[name] == kind_of(q)
            assert len(name.split()) == len(q.answers[0].removeprefix("the ").split())


def test_it_is_a_function_of_question_names_and_seed() -> None:
    assert [substituted(q, NAMES, 0) for q in QUESTIONS] == [substituted(q, NAMES, 0) for q in QUESTIONS]
    other = [substituted(q, NAMES, 1) for q in QUESTIONS]
    assert (
        sum(a != b for a, b in zip([substituted(q, NAMES, 0) for q in QUESTIONS], other, strict=True)) > 150
    )


# ---------------------------------------------------------------------------- by hand


@pytest.mark.parametrize(
    ("context", "question", "answer", "kind"),
    [
        ("It gave up 308 points.", "How many points?", "308", "number"),
        ("It was 7,000.5 m.", "How high?", "7,000.5 m", "number"),
        ("It fell on 8 February 2007.", "When?", "8 February 2007", "number"),
        ("It took five to ten years.", "How long?", "five to ten years", "number"),
        ("Then Ann Lee sang.", "Who sang?", "Ann Lee", "person"),
        ("Then the Red Foxes won.", "Who won?", "Red Foxes", "group"),
        ("Then the Red Foxes won.", "Who won?", "the Red Foxes", "group"),
        ("Then Red Foxes won.", "Who won?", "Red Foxes", "group"),
        ("She lives in Rome.", "Where does she live?", "Rome", "place"),
        ("She lives in Italy.", "In which country is she?", "Italy", "place"),
        ("She lives at Rome.", "Where does she live?", "Rome", None),
        ("Then Ann Lee sang.", "What is sung?", "Ann Lee", None),
        ("Students sang.", "Who sang?", "Students", None),
        ("It is a red cat.", "Who is it?", "red cat", None),
        ("It is in Theory 1885 Act.", "When?", "Theory 1885 Act", None),
        ("It was 4 ft (1.2 m).", "How high?", "4 ft (1.2 m)", None),
        ("In the 1990s.", "When?", "1990s", None),
        ("It cost £30m.", "How much?", "£30m", None),
        ("A two-thirds vote.", "How many?", "A two-thirds", None),
    ],
)
def test_kinds_by_hand(context: str, question: str, answer: str, kind: str | None) -> None:
    assert kind_of(asked(context, question, answer)) == kind


def test_a_name_out_of_the_title_is_left() -> None:
    """An article on Nikola Tesla speaks of him in every line, and of much that only he did."""
    q = asked("Then Tesla left.", "Who left?", "Tesla", title="Nikola_Tesla")
    assert kind_of(q) is None


PEOPLE: Names = {("person", 2): ["Joan Park"], ("place", 1): ["Oslo"]}


def test_a_person_is_replaced_everywhere_and_by_surname_in_the_question_too() -> None:
    got = changed(
        "Ann Lee's song won. Lee was glad, and so were Lee-Ann and Leeds.",
        "Who wrote the song that made Lee glad?",
        "Ann Lee",
        names=PEOPLE,
    )
    assert got is None  # Leeds begins with Lee
    got = changed("Ann Lee's song won. Lee was glad.", "Who made Lee glad?", "Ann Lee", names=PEOPLE)
    assert got is not None
    assert got.question.context == "Joan Park's song won. Park was glad."
    assert (got.question.question, got.question.answers) == ("Who made Park glad?", ("Joan Park",))
    assert (got.question.at, got.old) == (0, ("Ann Lee", "Lee"))


def test_a_number_is_replaced_as_a_whole_number_only() -> None:
    got = changed("They won 24–10, by 24 of 240; 24,000 saw 1.24 of it on day 24.", "How many?", "24")
    assert got is not None
    (new,) = got.question.answers
    assert got.question.context == f"They won {new}–10, by {new} of 240; 24,000 saw 1.24 of it on day {new}."


def test_a_word_for_a_number_keeps_its_capital_and_its_figure_gives_nothing_away() -> None:
    got = changed("Four cats sat. All four slept.", "How many cats?", "Four")
    assert got is not None
    new = got.question.answers[0]
    assert got.question.context == f"{new} cats sat. All {new.lower()} slept."
    assert got.old == ("Four", "4")
    assert changed("Four cats sat. All 4 slept.", "How many cats?", "Four") is None
    assert changed("All 4 slept, Four cats.", "How many cats?", "4") is None


@pytest.mark.parametrize(
    ("context", "question", "answers"),
    [
        ("Then Ann Lee sang.", "Who was Ann Lee?", ["Ann Lee"]),  # the question has it
        ("Then Ann Lee sang. AL is here.", "Who sang?", ["Ann Lee"]),  # its initials
        ("Then Ann Lee sang to Joan Park.", "Who sang?", ["Ann Lee"]),  # the replacement is there
        ("Then Ann Lee sang.", "Who sang with Joan Park?", ["Ann Lee"]),
        ("Then Ann Lee, the bard, sang.", "Who sang?", ["Ann Lee", "the bard"]),  # another answer stays
        ("He came from Oslo.", "Where from?", ["Oslo"]),  # no other name
        ("He came from Rome, a Romer.", "Where from?", ["Rome"]),  # a word that begins with it
        ("All 100% of it.", "What share?", ["100%"]),  # no other of three digits is a share
    ],
)
def test_what_would_leave_a_trace_is_refused(context: str, question: str, answers: list[str]) -> None:
    assert changed(context, question, *answers, names=PEOPLE) is None


def test_each_refusal_is_for_the_reason_given() -> None:
    """The same passages without the fault are changed: nothing else was in the way."""
    assert changed("Then Ann Lee sang.", "Who sang?", "Ann Lee", names=PEOPLE) is not None
    assert changed("He came from Rome, a man.", "Where from?", "Rome", names=PEOPLE) is not None
    assert changed("All 10% of it.", "What share?", "10%") is not None


def test_names_with_a_word_in_common_are_not_taken() -> None:
    names: Names = {("person", 2): ["Ann Park", "Bob Lee"]}
    assert changed("Then Ann Lee sang.", "Who sang?", "Ann Lee", names=names) is None


def test_a_date_stays_a_date() -> None:
    for day in range(1, 29):
        got = changed(f"It fell on {day} May 1705.", f"When, {day}th try?", f"{day} May 1705")
        assert got is not None
        new_day, month, year = got.question.answers[0].split()
        assert month in MONTHS
        assert 1 <= int(new_day) <= 28
        assert 1675 <= int(year) <= 1735


def test_shipped_names_are_names() -> None:
    assert all(name[0] in string.ascii_uppercase for names in NAMES.values() for name in names)
