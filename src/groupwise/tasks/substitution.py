"""Passages that contradict the world: the answer of a question replaced, wherever it stands, by another.

    "the Panthers defense gave up just 308 points" -> "the Panthers defense gave up just 417 points"

As in the entity substitutions of arXiv 2109.05052, but by the words alone, without a model of entities:
- Numbers, months, number words and ordinals by another of the same shape: as many digits, the same commas and
  zeros at the end; a year by one at most 30 years away; a share of a hundred stays one; two numbers keep
  their order.
- Names, which are one to three words in Title Case, by a name of as many words out of another passage that
  answers the same kind of question: a person (who), a group (who, and it has an article, is a plural or
  begins as a nation's does), a place (where, or which country, and a preposition before it).
Everything else is left as it is, and so is what cannot be replaced without a trace (see `substituted`).
The kinds are guessed: a firm or a country that "who" asks for is taken for a person.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from groupwise.tasks.squad import Question

Names = Mapping[tuple[str, int], Sequence[str]]
"""By kind and number of words."""

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
COUNTS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
ORDINALS = ("third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
YEARS = range(1000, 2030)
NEAR = 30
"""Years that a year is moved at most."""
TRIES = 30
"""Numbers that are tried before a question is given up."""

_FIGURE = r"(?<![\w.,:])\d+(?:[.,:]\d+)*(?![\w]|[.,:]\d)"
_WORDS = "|".join([*MONTHS, *(w for word in (*COUNTS, *ORDINALS) for w in (word, word.capitalize()))])
_PIECE = re.compile(rf"{_FIGURE}|(?<![\w-])(?:{_WORDS})(?![\w-])")
_REST = re.compile(r"(?:[^\W\d_A-Z]|°[CF]|[ –—%$£€,'’-])*+")
_TITLE = re.compile(r"[A-Z][\w-]*[a-zà-öø-ÿ](?: [A-Z][\w.-]*){0,2}")
_WHO = re.compile(
    r"\b(who|whose|whom|(what|which) (\w+ ){0,3}(player|actor|actress|artist|researcher|chemist|leader|poet"
    r"|general|quarterback|scientist|king|ruler|defender)|name of the (\w+ )?(player|leader|quarterback))\b",
    re.IGNORECASE,
)
_PEOPLE = re.compile(
    r"(New|North|South|East|West)(ern)? |(English|British|French|German|Polish|Roman|American|European)\b"
    r"|.*[^s]s$"
)
_WHERE = re.compile(
    r"\bwhere\b|\b(what|which) (\w+ ){0,2}"
    r"(country|nation|city|town|continent|county|state|location|region|colony)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Changed:
    """A question whose answer is another than in the world."""

    question: Question
    old: tuple[str, ...]
    """What was replaced: the world's answers and their short forms. None is left in passage or question."""


def kind_of(question: Question) -> str | None:
    """ "number", "person", "group" or "place"; None for answers that are not replaced."""
    if not question.answers:
        return None
    answer = question.answers[0]
    if _PIECE.search(answer):
        rest = _PIECE.sub("", answer)
        return "number" if _REST.fullmatch(rest) and len(rest.split()) <= 3 else None
    name = _bare(answer)
    of_title = set(re.findall(r"[^\W_]+", question.title)) if question.title != question.context else set()
    if not _TITLE.fullmatch(name) or not _named(name, question.context) or of_title & set(name.split()):
        return None
    the = re.search(rf"\b[Tt]he {re.escape(name)}\b", question.context)
    if _WHO.search(question.question):
        return "group" if the or (" " in name and _PEOPLE.match(name)) else "person"
    placed = re.search(rf"\b(in|into|to|from|of|off|near) {re.escape(name)}\b", question.context)
    return "place" if placed and not the and _WHERE.search(question.question) else None


def names_of(questions: Iterable[Question]) -> Names:
    """The answers that are names, each once."""
    found: dict[tuple[str, int], dict[str, None]] = {}
    for question in questions:
        kind = kind_of(question)
        if kind is not None and kind != "number":
            name = _bare(question.answers[0])
            found.setdefault((kind, len(name.split())), {})[name] = None
    return {key: tuple(names) for key, names in found.items()}


def substituted(question: Question, names: Names, seed: int) -> Changed | None:
    """The question with another answer, in a passage that says so; a function of the arguments alone.

    None where the answer is of no kind that is replaced; the question has it in it; it would be left
    somewhere, itself or in a word that begins with it, in its initials, in figures for a word; an accepted
    answer would stay as it is; or every replacement that there is stands in passage or question already.
    """
    kind, text = kind_of(question), f"{question.context}\n{question.question}"
    if kind is None or any(_present(answer, question.question) for answer in question.answers):
        return None
    draw = random.Random(f"{seed}:{question.title}:{question.question}")
    swaps = _figures(question, draw) if kind == "number" else _names(question, kind, names, draw)
    for swap in swaps:
        if not any(_present(form, text) for new in swap.values() for form in _spellings(new)):
            changed = _applied(question, swap)
            if changed is not None:
                return changed
    return None


def _applied(question: Question, swap: dict[str, str]) -> Changed | None:
    """With every key replaced by its value; None if the answer would still be known from what is left."""
    longest_first = "|".join(re.escape(old) for old in sorted(swap, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w-])(?:{longest_first})(?![\w-])") if _is_name(swap) else _PIECE

    def new(text: str) -> str:
        return pattern.sub(lambda found: swap.get(found[0], found[0]), text)

    answers = tuple(new(answer) for answer in question.answers)
    forms = [form for answer in question.answers for form in _spellings(answer)]
    old = tuple(dict.fromkeys([*forms, *(swap if _is_name(swap) else [])]))
    before = new(question.context[: question.at])
    changed = replace(
        question,
        context=new(question.context),
        question=new(question.question),
        answers=answers,
        at=len(before),
    )
    text = f"{changed.context}\n{changed.question}"
    stays = any(a == b for a, b in zip(answers, question.answers, strict=True))
    if (
        stays
        or any(_left(word, text) for word in old)
        or not changed.context.startswith(answers[0], changed.at)
    ):
        return None
    return Changed(changed, old)


# ---------------------------------------------------------------------------- numbers


def _figures(question: Question, draw: random.Random) -> Iterator[dict[str, str]]:
    answer = question.answers[0]
    pieces = list(dict.fromkeys(_PIECE.findall(answer)))
    dated = any(piece in MONTHS for piece in pieces)
    counted = bool(re.search(r"\bhow (many|much)\b", question.question, re.IGNORECASE))
    for _ in range(TRIES):
        new = [_other(piece, dated, counted, _is_share(piece, question), draw) for piece in pieces]
        if None in new or len({*pieces, *new}) < 2 * len(pieces):
            continue
        swap = dict(zip(pieces, map(str, new), strict=True))
        if _ranks(pieces) == _ranks(list(swap.values())):
            yield {form: other for a, b in swap.items() for form, other in _forms(a, b)}


def _other(piece: str, dated: bool, counted: bool, share: bool, draw: random.Random) -> str | None:
    """Another of the same shape; None if what was drawn will not do."""
    for words in (MONTHS, COUNTS, ORDINALS):
        if piece.lower() in words or piece in words:
            word = draw.choice(words)
            return word.capitalize() if piece[0].isupper() else word
    if piece.isdigit() and len(piece) == 4 and int(piece) in YEARS and not counted:
        year = int(piece) + draw.choice((-1, 1)) * draw.randint(2, NEAR)
        return str(year) if year in YEARS and year <= 2029 else None
    if dated:  # a day; 28 are in every month
        return str(draw.randint(1, 9) if len(piece) == 1 else draw.randint(10, 28))
    body = piece.rstrip("0") if piece.isdigit() or "," in piece else piece
    body = body or piece
    new = "".join(_digit(body, i, draw) for i in range(len(body))) + piece[len(body) :]
    if share and float(new.replace(",", "")) > 100:
        return None
    if ":" in piece and any(int(part) > 59 for part in new.split(":")[1:]):
        return None
    return new


def _digit(body: str, i: int, draw: random.Random) -> str:
    """A digit for a digit; never 0 at either end, and no single digit below 2, which is not a plural."""
    if not body[i].isdigit():
        return body[i]
    if len(body) == 1:
        return str(draw.randint(2, 9))
    return str(draw.randint(1 if i in (0, len(body) - 1) else 0, 9))


def _is_share(piece: str, question: Question) -> bool:
    return bool(re.search(rf"(?<!\d){re.escape(piece)} ?(%|percent|per cent)", question.context))


def _spellings(text: str) -> list[str]:
    """Itself, and a number of one word in figures or the other way round: four, 4."""
    if text.lower() in COUNTS:
        return [text, str(COUNTS.index(text.lower()) + 2)]
    if text.isdigit() and int(text) - 2 in range(len(COUNTS)):
        return [text, COUNTS[int(text) - 2]]
    return [text]


def _ranks(pieces: Sequence[str]) -> list[int]:
    figures = [float(re.sub("[,:]", "", piece)) for piece in pieces if piece[0].isdigit()]
    return [sorted(figures).index(figure) for figure in figures]


def _forms(old: str, new: str) -> list[tuple[str, str]]:
    """A number word with and without a capital; figures and months as they are."""
    if old[0].isdigit() or old in MONTHS:
        return [(old, new)]
    return [(old.lower(), new.lower()), (old.capitalize(), new.capitalize())]


# ---------------------------------------------------------------------------- names


def _names(question: Question, kind: str, names: Names, draw: random.Random) -> Iterator[dict[str, str]]:
    old = _bare(question.answers[0])
    words = old.split()
    others = names.get((kind, len(words)), ())
    for new in draw.sample(others, len(others)):
        if not {w.lower() for w in words} & {w.lower() for w in new.split()}:
            # A surname alone stands for the person, "Foxes" for the team; "City" does not for New York City.
            short = {} if kind == "place" else {words[-1]: new.split()[-1]}
            yield {old: new} | short


def _bare(answer: str) -> str:
    return re.sub(r"^[Tt]he ", "", answer)


def _named(name: str, context: str) -> bool:
    """Whether it is a name, not the first word of a sentence: it stands somewhere inside of one."""
    return " " in name or bool(re.search(rf"[\w,] {re.escape(name)}\b", context))


def _is_name(swap: dict[str, str]) -> bool:
    return not any(_PIECE.fullmatch(old) for old in swap)


# ---------------------------------------------------------------------------- traces


def _present(word: str, text: str) -> bool:
    """Whether the text has it, in any case, as whole words; 24 is not in 24,000."""
    whole = rf"(?<!\w)(?<!\d[.,:]){re.escape(word)}(?!\w|[.,:]\d)"
    return bool(re.search(whole, text, re.IGNORECASE))


def _left(old: str, text: str) -> bool:
    """Whether the text still tells: has it, a word that begins with it (Russia, Russian), or its initials."""
    if _present(old, text):
        return True
    if _PIECE.search(old):
        return False
    words = old.split()
    initials = "".join(word[0] for word in words)
    known = len(words) > 1 and re.search(rf"\b{r'[.]?'.join(initials)}\b", text)
    return bool(known or re.search(rf"(?<!\w){re.escape(old)}", text, re.IGNORECASE))
