"""Pictures and tables of docs/theory.md, from the functions that tests/theory asserts.

    python bench/theory.py [--docs DIR]

Deterministic, a minute at most. Writes docs/theory/*.svg and, in docs/theory.md, what stands between
`<!-- NAME -->` and `<!-- /NAME -->` for each table; the rest of that text stays as it is.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tests"))

import torch  # noqa: E402

from dynamics import (  # noqa: E402
    amplified,
    ascend,
    distances,
    iterate,
    limit,
    logit,
    sigmoid,
    trained,
)
from exact import expected_gradient, f64, moments, weight_on_gradient  # noqa: E402
from groupwise.advantages import (  # noqa: E402
    Advantage,
    center,
    leave_one_out,
    maxrl,
    pass_at,
    pkpo,
    standardize,
    standardized,
)
from theory_lines import Line, drawn  # noqa: E402

SCHEMES: dict[str, Advantage] = {
    "center": center,
    "leave_one_out": leave_one_out,
    "standardized(0, 0)": standardized(0, 0.0),
    "standardized(1, 0)": standardized(1, 0.0),
    "maxrl": maxrl,
    "pass_at(4)": pass_at(4),
    "pkpo(4)": pkpo(4),
}
WHITENING = 1e-3
SIX = f64(1, 1, 1, 0, 0, 0)


def start(p: float) -> torch.Tensor:
    """Logits of six arms, of which three succeed with chance p in all."""
    return torch.cat([f64(0.2, 0.3, 0.5) * p, f64(0.3, 0.5, 0.2) * (1 - p)]).log()


# ---------------------------------------------------------------- tables


def rows(head: list[str], body: list[list[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *body])


def weights_table() -> str:
    at = [(4, 0.1), (8, 0.1), (8, 0.5), (8, 0.9), (16, 0.1)]

    def cell(scheme: Advantage, size: int, p: float) -> str:
        too_few = isinstance(scheme, pass_at) and size <= scheme.k
        return "–" if too_few else f"{weight_on_gradient(scheme, size, p):.4f}"

    body = [[f"`{name}`", *(cell(scheme, *place) for place in at)] for name, scheme in SCHEMES.items()]
    return rows(["advantage", *(f"G = {size}, p = {p}" for size, p in at)], body)


def variance_table() -> str:
    pi, rewards = f64(0.5, 0.3, 0.2), f64(1.0, 0.0, 0.5)
    body = []
    for scheme in (center, leave_one_out, standardize):
        found = [moments(scheme, pi, rewards, size) for size in (2, 4, 8)]
        share = [f"{float(mean[0]) / 0.2:.4f} / {variance:.5f}" for mean, variance in found]
        body.append([f"`{scheme.__name__}`", *share])
    return rows(["advantage", "G = 2", "G = 4", "G = 8"], body)


def rounds_table() -> str:
    body = []
    for p_ref, beta in ((0.1, 2.0), (0.3, 5.0)):
        theory = list(iterate(lambda p, r=p_ref, b=beta: amplified(p, r, b, WHITENING), p_ref, 5))[1:]
        ours = trained(start(p_ref), SIX, beta, whitened=WHITENING)
        body.append([f"p_ref {p_ref}, β {beta:g}: recursion", *(f"{p:.6f}" for p in theory)])
        body.append(["our learner", *(f"{p:.6f}" for p in ours)])
    return rows(["success after round", "1", "2", "3", "4", "5"], body)


TABLES: dict[str, Callable[[], str]] = {
    "weights": weights_table,
    "variance": variance_table,
    "rounds": rounds_table,
}


# ---------------------------------------------------------------- pictures


def weights_picture() -> str:
    grid = [i / 50 for i in range(1, 50)]
    names = {
        "GRPO": standardized(1, 0.0),
        "Dr.GRPO": center,
        "RLOO": leave_one_out,
        "MaxRL": maxrl,
        "PKPO, k = 4": pkpo(4),
        "pass@4 training": pass_at(4),
    }
    lines = [Line(n, [(p, weight_on_gradient(s, 8, p)) for p in grid]) for n, s in names.items()]
    about = "Weight w(p) of a prompt's ∇p in the expected update, by its chance of success. Groups of 8."
    return drawn("What an advantage makes of difficulty", about, "p", lines, high=7.0)


def rounds_picture() -> str:
    lines = []
    for beta in (1.0, 2.0):
        theory = list(iterate(lambda p, b=beta: amplified(p, 0.1, b, WHITENING), 0.1, 8))
        ours = trained(start(0.1), SIX, beta, whitened=WHITENING)
        lines.append(Line(f"GRPO, β = {beta:g}", list(enumerate(theory))))
        lines.append(Line("", [(float(i + 1), p) for i, p in enumerate(ours)], dots=True))
    mean = sigmoid(logit(0.1) + 1 / 2.0)
    lines.append(Line("mean only, β = 2", [(0, 0.1), *((n, mean) for n in range(1, 9))]))
    mirror = [sigmoid(logit(0.1) + n / 2.0) for n in range(9)]
    lines.append(Line("mean only, mirror", list(enumerate(mirror))))
    about = "Chance of success by round, from p_ref 0.1. Lines: the recursion. Dots: our learner, maximised."
    return drawn("Where GRPO with a reference ends", about, "round", lines, high=1.0)


def collapse_picture() -> str:
    data, rewards = torch.tensor([0] * 5 + [1] * 3 + [2] * 2), f64(1.0, 0.6, 0.0)
    shifts = [-0.6 + 0.02 * i for i in range(36)]
    ends = [limit(data, rewards, shift) for shift in shifts]
    lines = [
        Line("best arm", [(s, float(end[0])) for s, end in zip(shifts, ends, strict=True)]),
        Line("second", [(s, float(end[1])) for s, end in zip(shifts, ends, strict=True)]),
        Line("reward", [(s, float(end @ rewards)) for s, end in zip(shifts, ends, strict=True)]),
    ]
    about = "Chances in the limit, and expected reward, by the baseline's shift off the data's mean reward."
    return drawn("AsymRE: the lower the baseline, the wider the mixture", about, "shift", lines, high=1.0)


def smooth(values: list[float], width: int) -> list[tuple[float, float]]:
    """Root mean square of stretches of `width`."""
    cuts = [values[i : i + width] for i in range(0, len(values) - width + 1, width)]
    return [
        (float(width * (i + 0.5)), (sum(v * v for v in cut) / width) ** 0.5) for i, cut in enumerate(cuts)
    ]


def descent_picture() -> str:
    n = 2000
    falling = [1 / (1 + t / 20) for t in range(n)]
    lines = [
        Line("constant", smooth(distances([1.0] * n, 0), 50)),
        Line("1 / (1 + t/20)", smooth(distances(falling, 0), 50)),
        Line("KL in the reward", smooth(distances([1.0] * n, 0, kl_in_reward=True), 50)),
    ]
    about = "Distance from the best policy by step, sampled groups of 4. The last: constant steps too."
    return drawn("Noise: constant steps hover, falling ones arrive", about, "step", lines, high=0.15)


def speed_picture() -> str:
    rewards, rates = f64(1.0, 0.0), [0.4] * 60
    lines = []
    for name, scheme in {"GRPO": standardized(1, 0.0), "RLOO": leave_one_out, "MaxRL": maxrl}.items():
        path = ascend(f64(-2.2, 0.0), lambda x, s=scheme: expected_gradient(s, x, rewards, 4), rates)
        lines.append(Line(name, [(float(t), float(x.softmax(0)[0])) for t, x in enumerate(path)]))
    about = "Chance of success by step of the expected update, rate 0.4, groups of 4, from p = 0.1."
    return drawn("The weight is a speed", about, "step", lines, high=1.0)


PICTURES: dict[str, Callable[[], str]] = {
    "weights.svg": weights_picture,
    "speed.svg": speed_picture,
    "rounds.svg": rounds_picture,
    "collapse.svg": collapse_picture,
    "descent.svg": descent_picture,
}


def filled(text: str, name: str, new: str) -> str:
    """The text with what stands between a name's markers replaced.

    Raises:
        ValueError: the markers are not there, once each and in order.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if text.count(begin) != 1 or text.count(end) != 1 or not pattern.search(text):
        raise ValueError(f"one {begin} and one {end} after it are needed")
    return pattern.sub(lambda _: f"{begin}\n\n{new}\n\n{end}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs")
    docs = parser.parse_args().docs
    page = docs / "theory.md"
    text = page.read_text("utf-8")
    for name, table in TABLES.items():
        text = filled(text, name, table())
    page.write_text(text, "utf-8")
    (docs / "theory").mkdir(exist_ok=True)
    for name, picture in PICTURES.items():
        (docs / "theory" / name).write_text(picture(), "utf-8")


if __name__ == "__main__":
    main()
