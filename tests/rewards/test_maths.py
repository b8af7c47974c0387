"""Right answers in many spellings, wrong ones that look right, and ones that are meant to break the judge."""

import time
from collections.abc import Iterator

import pytest

from groupwise.rewards.maths import concise, equivalent, exact, is_refused, steps, tokens
from groupwise.rewards.scoring import Failed, Reward, TrainerState, Value, score
from groupwise.trajectory import Group, Prompt
from judged import answer


@pytest.mark.parametrize(
    ("text", "truth", "value"),
    [
        ("#### 42", "42", 1.0),
        ("it is 42.0", "42", 1.0),
        ("\\boxed{1{,}000}", "1000", 1.0),
        ("#### $-7$", "-7", 1.0),
        ("#### 12 cm", "12", 1.0),
        ("４２", "42", 1.0),
        ("4\u200b2", "42", 1.0),
        ("#### 7 or 8", "7", 0.0),
        ("\\boxed{7, 8}", "8", 0.0),
        ("\\boxed{1/2}", "0.5", 0.0),
        ("5²", "52", 0.0),
        ("", "0", 0.0),
        ("nothing", "0", 0.0),
        ("9" * 100_000, "9", 0.0),
    ],
)
def test_exact_numbers(text: str, truth: str, value: float) -> None:
    assert exact()([text], answer=[truth]) == [value]
    assert exact()([[{"role": "assistant", "content": text}]], answer=[truth]) == [value]


def test_strict_numbers_have_to_be_marked() -> None:
    assert exact(strict=True)(["it is 42", "#### 42", "#### 41\n#### 42"], answer=["42"] * 3) == [
        0.0,
        1.0,
        0.0,
    ]


def test_an_answer_may_be_a_number_in_its_column() -> None:
    assert exact()(["7", "7.5"], answer=[7, 7.5]) == [1.0, 1.0]


# ---------------------------------------------------------------------------- formulas


@pytest.fixture(scope="module")
def equal() -> Iterator[equivalent]:
    pytest.importorskip("math_verify")
    reward = equivalent(workers=1, seconds=1.0)
    yield reward
    reward.judge.pool.close()


def judged(equal: equivalent, said: str, truth: str) -> Value:
    (value,) = equal([f"\\boxed{{{said}}}"], [truth])
    return value


@pytest.mark.parametrize(
    ("said", "truth", "value"),
    [
        ("\\frac{1}{2}", "0.5", 1.0),
        ("\\sqrt{12}", "2\\sqrt{3}", 1.0),
        ("(x+1)^2", "x^2+2x+1", 1.0),
        ("\\{2,1\\}", "\\{1,2\\}", 1.0),
        ("x=5", "5", 1.0),
        ("５", "5", 1.0),
        (".5", "0.5", 1.0),
        ("$-.50$.", "-\\frac{1}{2}", 1.0),
        (".5", "5", 0.0),
        ("5", ".5", 0.0),
        ("[1,2]", "(1,2)", 0.0),
        ("5 or 6", "5", 0.0),
        ("5, 6", "5", 0.0),
        ("0.333", "\\frac{1}{3}", 0.0),
        ("cab", "abc", 0.0),
        ("\\text{Monday}", "monday", 1.0),
        ("(B)", "\\text{B}", 1.0),
        ("", "5", 0.0),
        ("\\frac{1}{", "5", 0.0),
        ("}{", "5", 0.0),
        ("__import__('os')", "5", 0.0),
    ],
)
def test_formulas(equal: equivalent, said: str, truth: str, value: float) -> None:
    assert judged(equal, said, truth) == value


def test_a_truth_that_is_no_formula_leaves_the_answer_unscored(equal: equivalent) -> None:
    assert judged(equal, "5", "") is None


@pytest.mark.parametrize(
    "said",
    [
        "9^9^9^9",
        "9^{9^{9^9}}",
        "10^{10^{10}}",
        "2^{100000000}",
        "(" * 100 + "1" + ")" * 100,
        "{" * 90 + "1" + "}" * 90,
        "9" * 150,
        "9" * 100_000,
        "x" * 201,
    ],
)
def test_hostile_formulas_are_refused_before_any_work(
    equal: equivalent, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are wrong answers: had they failed, to hang the judge would be better than to be wrong."""
    monkeypatch.setattr(equal, "judge", None)
    assert judged(equal, said, "5") == 0.0


@pytest.mark.parametrize("said", ["99999!!", "(9^{9999})^{9999}", "\\binom{9999999}{4999999}", "9999999999!"])
def test_what_gets_past_that_is_ended(equal: equivalent, said: str) -> None:
    equal.judge.pool.run([{"said": "1", "truth": "2"}])  # a worker is ready
    began = time.monotonic()
    assert judged(equal, said, "5") in (0.0, Failed("timeout"), Failed("crash"))
    assert time.monotonic() - began < 20  # unlimited, each takes minutes
    assert judged(equal, "1+1", "2") == 1.0


def test_legitimate_powers_are_not_refused() -> None:
    powers = ("2^{2024}", "x^2y^2", "e^{x^2}", "2^3 + 2^4", "\\frac{x^2}{y^2}", "10^{-5}")
    assert not any(map(is_refused, powers))


def test_refusals_and_missing_answers_are_logged(equal: equivalent) -> None:
    group = Group(
        Prompt(0, "?", {"answer": "2"}), tuple(map(answer, ("#### 2", "9^9^9", "no", "#### 2^2^2^2")))
    )
    scored = score([group], [Reward("right", equal)], TrainerState())
    assert scored.metrics == {"maths/refused": 0.25, "maths/no_answer": 0.25}


def test_without_math_verify_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[math\]'"):
        equivalent()


# ---------------------------------------------------------------------------- conciseness


def test_only_right_answers_win_by_being_short() -> None:
    reward = concise(exact())
    values = reward(
        completions=["5", "so 5", "so it is 5", "4", "5"],
        completion_ids=[[0] * 2, [0] * 4, [0] * 8, [], [0] * 3],
        group_ids=[0, 0, 0, 0, 1],
        answer=["5"] * 5,
    )
    assert values == [1.0, 0.5, 0.25, 0.0, 1.0]


def test_steps_are_not_saved_by_writing_them_in_one_line() -> None:
    lines, line = "2 + 3 = 5\n5 * 2 = 10", "2 + 3 = 5. 5 * 2 = 10"
    assert steps(lines, []) == steps(line, []) == 4
    assert steps("", []) == 0
    assert tokens("abc", [1, 2]) == 2
    values = concise(exact(), cost=steps)(
        completions=[lines, "10"], completion_ids=[[0], [0] * 9], group_ids=[0, 0], answer=["10"] * 2
    )
    assert values == [0.25, 1.0]


def test_what_could_not_be_judged_has_no_conciseness() -> None:
    inner = lambda completions: [None, Failed("timeout"), 1.0]  # noqa: E731
    values = concise(inner)(completions=list("abc"), completion_ids=[[0], [0], [0, 0]], group_ids=[0, 0, 0])
    assert values == [None, None, 1.0]
