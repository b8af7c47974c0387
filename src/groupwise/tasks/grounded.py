"""Questions to be answered from a passage, which may contradict the world, or not tell at all.

Three kinds of rows, by their column `kind`:
- changed: the answer is replaced by another wherever it stands in the passage (`tasks.substitution`), so that
  only a model that reads gives the right one; what the world says is in the column `old`;
- untouched: a passage as it is, with a question of a short answer;
- unanswerable: a question put to a passage of another article, which has none of its answers.

Five, three and two of ten rows, at every point of the held-out rows. Whole articles are held out.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from groupwise.rewards.grounded import NOT_TOLD, exact, exact_of, f1, not_from_memory
from groupwise.rewards.scoring import Reward
from groupwise.rewards.squad import normalised
from groupwise.tasks.data import DataError
from groupwise.tasks.squad import Question, excerpt, read_questions
from groupwise.tasks.substitution import names_of, substituted
from groupwise.tasks.task import Row, Task

XQUAD = Path(__file__).parent / "xquad" / "xquad_en.jsonl.gz"
"""600 questions about 114 passages of 23 articles; their licence stands beside them."""
KINDS = ("changed", "untouched", "unanswerable")
SHORT = 5
"""Words that an answer of an untouched passage has at most."""
MOST_HELD_OUT = 0.6
"""Share of the questions of one file."""
SHOWN = "".join(
    f"Text: {text}\nQuestion: {question}\nAnswer: {answer}\n\n"
    for text, question, answer in (
        ("The Velm rises in Tarn and is 1,230 miles long.", "Who bridged the Velm?", NOT_TOLD),
        ("Ann Lund moved the firm from Oslo to Turin in 1954.", "Who moved the firm?", "Ann Lund"),
    )
)
"""How answers look, by facts of nowhere."""
VARIANTS = 2
"""Replacements of each answer that is trained on."""


@dataclass(frozen=True, slots=True)
class Options:
    """Written `words=70,changed=5,untouched=3,unanswerable=2,held_out=200`, each part optional."""

    words: int = 70
    """Words of a passage: the sentences around the answer, as many as fit, one at least."""
    changed: int = 5
    """Rows of that kind among as many as all three together, and so on; 0 leaves a kind out."""
    untouched: int = 3
    unanswerable: int = 2
    held_out: int = 200
    """Rows held out at most."""

    @property
    def shares(self) -> dict[str, int]:
        return {kind: getattr(self, kind) for kind in KINDS}


def grounded(options: str = "") -> Task:
    """The task from the questions that come with it (600 of XQuAD, CC BY-SA 4.0), or from your own.

    Options: words=70, changed=5, untouched=3, unanswerable=2, held_out=200, and one or two files, rows to
    train on and rows to hold out (`tasks.squad`). From one file alone, the articles with the fewest questions
    are held out, as many as it takes: many articles judge better than one. 3 of 5 questions at most.

    Raises:
        DataError: an option that is none, a file that cannot be read, a row at fault, too few rows of a kind.
    """
    o, sources = parse(options)
    questions = [excerpt(q, o.words) for q in read_questions(sources[0])]
    if len(sources) == 2:
        held = [excerpt(q, o.words) for q in read_questions(sources[1], "test")]
        titles = {q.title for q in held}
        questions = [q for q in questions if q.title not in titles]
    else:
        questions, held = _apart(questions, o)
    train, held_out = mixture(questions, o, VARIANTS), mixture(held, o)[: o.held_out]
    for rows, side, found in ((train, "to train on", questions), (held_out, "to hold out", held)):
        if not rows:
            raise DataError(
                f"grounded:{options}: {len(found)} questions {side} give no mixture of {_counts(found, o)}. "
                "Give more articles with names and numbers for answers, or set the share of a kind to 0."
            )
    gold = (
        Reward("exact", exact),
        *(Reward(f"exact_{kind}", exact_of(kind)) for kind in KINDS if o.shares[kind]),
        *([Reward("not_from_memory", not_from_memory)] if o.changed else []),
    )
    return Task(
        f"grounded:{options}" if options else "grounded",
        train,
        held_out,
        rewards=(Reward("exact", exact, 0.5), Reward("f1", f1)),
        max_new_tokens=24,
        temperature=0.7,
        stop=("\n",),
        gold=gold,
    )


def asked(context: str, question: str) -> str:
    """A question below two that are answered, as plain text: small chat models too go on with a span.

    Asked in a chat message SmolLM2-135M answers in sentences that match nothing, and nothing can be learnt
    from answers that are all worth the same (docs/log.md).
    """
    return f"{SHOWN}Text: {context}\nQuestion: {question}\nAnswer:"


def parse(options: str) -> tuple[Options, list[str]]:
    """`my.jsonl,words=50` -> Options(words=50, ...), ["my.jsonl"]; without a file, ours."""
    given: dict[str, int] = {}
    sources: list[str] = []
    known = {f.name: int(f.default) for f in fields(Options) if isinstance(f.default, int)}
    for part in filter(None, (part.strip() for part in options.split(","))):
        key, equals, value = (text.strip() for text in part.partition("="))
        if not equals:
            sources.append(part)
            continue
        if key not in known:
            raise DataError(
                f"grounded has no option {key!r}: choose from {', '.join(known)}, as in words=50."
            )
        least = 0 if key in KINDS else 1
        if not value.isdecimal() or int(value) < least:
            raise DataError(f"grounded's option {key}={value}: give a whole number from {least} on.")
        given[key] = int(value)
    o = Options(**given)
    if len(sources) > 2 or not any(o.shares.values()):
        raise DataError(
            f"grounded:{options}: one or two files at most, and a share above 0 for one kind at least."
        )
    return o, sources or [str(XQUAD)]


def mixture(questions: Sequence[Question], o: Options, variants: int = 1) -> list[Row]:
    """Rows of the three kinds by their shares, no row twice; as many as the scarcest kind allows."""
    made = {kind: _shuffled(rows) for kind, rows in _made(questions, variants).items()}
    turns = min(len(made[kind]) // share for kind, share in o.shares.items() if share)
    order = _order(o.shares)
    return [made[kind].pop() for _ in range(turns) for kind in order]


def _made(questions: Sequence[Question], variants: int) -> dict[str, list[Row]]:
    names = names_of(questions)
    changed = {}
    for question in questions:
        for seed in range(variants):
            if new := substituted(question, names, seed):
                q = new.question
                changed[q.context, q.question] = _row("changed", q) | {"old": list(new.old)}
    short = [q for q in questions if q.answers and len(q.answers[0].split()) <= SHORT]
    return {
        "changed": list(changed.values()),
        "untouched": [_row("untouched", q) for q in short],
        "unanswerable": list(_unanswerable(questions)),
    }


def _unanswerable(questions: Sequence[Question]) -> Iterator[Row]:
    for question in questions:
        if not question.answers:  # SQuAD 2.0 has questions that their own passage does not answer
            yield _row("unanswerable", question)
            continue
        first = int.from_bytes(_hashed(question.question)) % len(questions)
        for i in range(len(questions)):
            other = questions[(first + i) % len(questions)]
            if other.title != question.title and not _tells(other.context, question.answers):
                yield _row("unanswerable", replace(other, question=question.question, answers=()))
                break


def _tells(context: str, answers: Sequence[str]) -> bool:
    words = f" {normalised(context)} "
    return any(f" {normalised(answer)} " in words for answer in answers)


def _row(kind: str, q: Question) -> dict[str, Any]:
    return {
        "prompt": asked(q.context, q.question),
        "kind": kind,
        "title": q.title,
        "context": q.context,
        "question": q.question,
        "answer": list(q.answers),
        "at": q.at if q.answers else None,
        "old": None,
    }


def _apart(questions: Sequence[Question], o: Options) -> tuple[list[Question], list[Question]]:
    """(train, held out), by article: held out are the smallest, until they give rows enough."""
    sizes = Counter(q.title for q in questions)
    titles = sorted(sizes, key=lambda title: (sizes[title], title))
    held: list[Question] = []
    kept: set[str] = set()
    for title in titles:
        if len(held) + sizes[title] > MOST_HELD_OUT * len(questions) or len(mixture(held, o)) >= o.held_out:
            break
        kept.add(title)
        held = [q for q in questions if q.title in kept]
    return [q for q in questions if q.title not in kept], held


def _order(shares: Mapping[str, int]) -> list[str]:
    """Each kind as often as its share, spread evenly.

    >>> _order({"a": 3, "b": 1, "c": 0})
    ['a', 'a', 'b', 'a']
    """
    places = [((2 * i + 1) / share, kind) for kind, share in shares.items() for i in range(share)]
    return [kind for _, kind in sorted(places, key=lambda place: place[0])]


def _shuffled(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: _hashed(f"{row['context']}:{row['question']}"))


def _hashed(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def _counts(questions: Sequence[Question], o: Options) -> str:
    made = _made(questions, 1)
    return ", ".join(f"{share} {kind} (there are {len(made[kind])})" for kind, share in o.shares.items())
