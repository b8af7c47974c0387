"""Finds the answer in what a model wrote, and gives equal numbers one spelling.

What is read of a text (`ascii_end`): its last READ characters; every decimal digit of any script as 0 to
9, and full-width signs as ASCII; format characters, such as zero-width ones, taken out. Superscripts and
fractions of one character are left: 5² is not 52.
"""

from __future__ import annotations

import re
import unicodedata

from groupwise.rewards.texts import Completion, text_of

NUMBER = (
    r"(?:(?<![0-9A-Za-z)])-)?"  # a minus, not the one of 12-5
    r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![0-9.])\.[0-9]+)"
)
"""A decimal number as people write it: 1,000 or -3.50 or .5"""
READ = 10_000
"""Characters at the end of a text that are read: an answer further up is none."""

_SPACES = dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f\u3000"), " ")
_MINUSES = dict.fromkeys(map(ord, "\u2212\ufe63\uff0d"), "-")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_MARK = re.compile(r"####|\\boxed\s*\{|\\fbox\s*\{")


def hyphened(completion: Completion) -> str:
    """A completion's text with the typographic minus as a hyphen, and otherwise as it stands."""
    return text_of(completion).replace("\N{MINUS SIGN}", "-")


def canonical(number: str) -> str:
    """One spelling for each value, without the limits of int() and float() on what a model writes.

    >>> [canonical(n) for n in ("1,000", "1000.0", "-007", ".5", "-0")]
    ['1000', '1000', '-7', '0.5', '0']
    """
    whole, _, fraction = number.replace(",", "").replace(" ", "").removeprefix("-").partition(".")
    fraction = fraction.rstrip("0")
    size = (whole.lstrip("0") or "0") + (f".{fraction}" if fraction else "")
    return f"-{size}" if number.startswith("-") and size != "0" else size


def ascii_end(text: str) -> str:
    """The end of a text, in the signs that are read. Not words.plain, which keeps what words are made of.

    >>> ascii_end("１\u200b２，５")
    '12,5'
    """
    return _NOT_ASCII.sub(_ascii, text[-READ:].translate(_SPACES | _MINUSES))


def answer_of(text: str, strict: bool = False) -> str | None:
    """The answer that a text gives: what follows its last `####` on that line, else its last boxed{}.

    Lenient: else the last number in the text. Strict: the answer is on the last line that is not blank, and
    there is no other mark in the text, so that nothing is won by giving several.

    >>> text = "3 or 4"
    >>> answer_of("So x = 4. \\\\boxed{\\\\frac{1}{2}}"), answer_of(text), answer_of(text, strict=True)
    ('\\\\frac{1}{2}', '4', None)
    """
    text = ascii_end(text).strip()
    if strict:
        marks = len(_MARK.findall(text))
        text = text.rpartition("\n")[2]
        return _marked(text) if marks == 1 else None
    found = _marked(text)
    if found is None and (numbers := re.findall(NUMBER, text.replace("{,}", ","))):
        found = numbers[-1]
    return found


def _marked(text: str) -> str | None:
    _, hashes, rest = text.rpartition("####")
    if hashes and (line := _bare(rest.partition("\n")[0])):
        return line
    starts = [m.end() for m in _MARK.finditer(text) if m[0] != "####"]
    return _bare(_balanced(text, starts[-1])) or None if starts else None


def _bare(text: str) -> str:
    text = text.strip().removesuffix(".").strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] == "$" else text


def _balanced(text: str, start: int) -> str:
    """Up to the brace that closes the one before `start`; empty where none does."""
    depth = 1
    for i in range(start, len(text)):
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return text[start:i]
    return ""


def _ascii(found: re.Match[str]) -> str:
    sign = found[0]
    kind = unicodedata.category(sign)
    if kind == "Cf":
        return ""
    if kind == "Nd":
        return str(unicodedata.decimal(sign))
    return chr(ord(sign) - 0xFEE0) if "\uff01" <= sign <= "\uff5e" else sign
