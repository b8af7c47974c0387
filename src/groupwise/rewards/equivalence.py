"""Whether two formulas are the same, by math-verify: imported and run in a worker only.

math-verify's own time limits are alarms, which do not end a power of whole numbers that has begun: here
they are off, and the pool that runs this ends it from outside.
"""

from __future__ import annotations

import contextlib
import re

with contextlib.suppress(ImportError):  # maths.equivalent has asked for it before
    from math_verify import parse, verify

    # Grammars are loaded when they are first used: not on the time of the first answer.
    verify(*(parse(f, parsing_timeout=None) for f in (r"$\frac{1}{2}x$", "$x/2$")), timeout_seconds=None)

_WORD = re.compile(r"\(?[A-Za-z]{2,}(?:[ -][A-Za-z]+)*\)?")


def same_value(said: str, truth: str) -> float | None:
    """1 where they are equal, else 0; None where the truth is no formula, so that nothing could be.

    Words are compared as texts: as products of letters, cab and abc would be equal.
    """
    if _WORD.fullmatch(truth):
        return float(_text(said) == _text(truth))
    gold = parse(f"${truth}$", parsing_timeout=None)
    if not gold:
        return None
    return float(verify(gold, parse(f"${said}$", parsing_timeout=None), timeout_seconds=None))


def _text(formula: str) -> str:
    bare = re.sub(r"\\(?:text|textbf|mathrm|mbox)\s*\{([^{}]*)\}", r"\1", formula)
    return bare.strip(" ()$.").casefold()
