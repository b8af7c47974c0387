"""What was measured of a reward model, for people: one set of tables, on the screen and in report.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from groupwise import __version__
from groupwise.checkpoints import replacing
from groupwise.preferences.evaluation import Measured
from groupwise.preferences.training import Trained, write_json


@dataclass(frozen=True, slots=True)
class Section:
    """A table and what it means."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    meaning: str = ""


def sections(measured: Measured) -> list[Section]:
    return [_right(measured), _reliability(measured), _length(measured)]


def of_training(trained: Trained) -> list[Section]:
    return [*sections(trained.joint), *([_members(trained)] if len(trained.members) > 1 else [])]


def on_screen(section: Section) -> Table:
    table = Table(title=section.title, title_justify="left", caption=section.meaning, caption_justify="left")
    for i, name in enumerate(section.head):
        table.add_column(name, justify="right" if i else "left")
    for row in section.rows:
        table.add_row(*row)
    return table


def in_markdown(title: str, facts: Mapping[str, object], found: Sequence[Section]) -> str:
    lines = [f"# {title}", "", *[f"- {name}: {value}" for name, value in facts.items()]]
    for section in found:
        lines += ["", f"## {section.title}", ""]
        lines += [_line(section.head), _line(["---", *["---:"] * (len(section.head) - 1)])]
        lines += [_line(row) for row in section.rows]
        lines += ["", section.meaning] if section.meaning else []
    return "\n".join(lines) + "\n"


def listed(excluded: Mapping[str, int]) -> str:
    """Reasons with their numbers."""
    return ", ".join(f"{n} {reason}" for reason, n in excluded.items()) or "none"


def write(
    folder: Path,
    trained: Trained,
    excluded: Mapping[str, int],
    seconds: float,
    settings: Mapping[str, Any],
) -> None:
    """report.json, and report.md to read."""
    status, (given, kept) = "finished" if trained.finished else "stopped early", trained.comparisons
    numbers = {
        "groupwise": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "status": status,
        "seconds": round(seconds, 1),
        "comparisons": {"trained": given, "held_out": kept},
        "excluded": dict(excluded),
        "steps": trained.steps,
        "joint": asdict(trained.joint),
        "members": [asdict(m) for m in trained.members],
        "disagreement": trained.disagreement,
        "settings": dict(settings),
    }
    write_json(folder / "report.json", numbers)
    facts = {
        "status": status,
        "seconds": numbers["seconds"],
        "comparisons": f"{given} trained on, {kept} held out",
        "left out": listed(excluded),
        "begun with": settings["model"],
    }
    with replacing(folder / "report.md") as work:
        work.write_text(in_markdown(f"Reward model {folder.name}", facts, of_training(trained)), "utf-8")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _right(m: Measured) -> Section:
    rows = [
        ("right", f"{m.accuracy:.1%} ± {m.error:.1%}"),
        ("loss, nats (0.693 by chance)", f"{m.loss:.3f}"),
        ("lead of the better one, nats", f"{m.lead:.3f}"),
    ]
    return Section(f"held-out: {m.pairs} pairs", ("", "value"), rows)


def _reliability(m: Measured) -> Section:
    c = m.calibration
    rows = [
        (f"{row.low:.2f} to {row.high:.2f}", str(row.n), f"{row.confidence:.3f}", f"{row.right:.3f}")
        for row in c.table
    ]
    rows.append(("all: error", str(m.pairs), f"{c.error:.3f}", ""))
    fit = "No temperature fits: it is never wrong, or no better than chance."
    if c.temperature is not None:
        fit = f"Fitted temperature {c.temperature:.2f}."
    meaning = f"{fit} Right below the confidence, and a temperature above 1: it is too sure."
    return Section("calibration", ("confidence", "pairs", "mean", "right"), rows, meaning)


def _length(m: Measured) -> Section:
    found = m.length
    rows = [
        ('right by the rule "longer is better"', f"{found.baseline:.1%}"),
        ("the model prefers the longer", f"{found.prefers_longer:.1%}"),
        ("right where the longer was chosen", _share(found.longer_chosen)),
        ("right where the shorter was chosen", _share(found.shorter_chosen)),
        ("correlation of score and length for one prompt", f"{found.correlation:+.2f}"),
    ]
    meaning = "The first two apart, or the next two: it has learned length beyond what people preferred."
    return Section("length", ("", "value"), rows, meaning)


def _members(trained: Trained) -> Section:
    rows = [
        (str(k), str(steps), f"{m.accuracy:.1%}", f"{m.loss:.3f}", f"{m.length.correlation:+.2f}")
        for k, (m, steps) in enumerate(zip(trained.members, trained.steps, strict=True))
    ]
    meaning = f"They disagree by {trained.disagreement:.2f} standard deviations of the score on average."
    return Section("members", ("member", "steps", "right", "loss", "length"), rows, meaning)


def _share(value: float | None) -> str:
    return "no such pair" if value is None else f"{value:.1%}"
