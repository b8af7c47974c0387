"""Puts the page together: headline, curves, answers, samples, configuration, machine."""

from __future__ import annotations

import base64
import hashlib
import shlex
from importlib.resources import files

from groupwise.report.alarms import alarms
from groupwise.report.curves import curves
from groupwise.report.files import Row, Run, finite, mapping, number
from groupwise.report.markup import DASH, counted, esc, fmt, plain, prose, signed
from groupwise.report.samples import prompt, samples
from groupwise.tables import doubts

OPEN_ANSWERS = 6
"""Examples of before and after that are unfolded."""
MAX_EXAMPLES = 50

Score = tuple[str, float | None, float | None]
"""(name, before, after)."""


def page(run: Run) -> str:
    """The whole document. Its policy lets nothing be loaded and no other script run."""
    style, script = _resource("report.css"), _resource("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    sections = {
        **({"Play": _film(run)} if run.film else {}),
        "Curves": curves(run),
        "Alarms": alarms(run),
        "Answers": _examples(run),
        "Samples": samples(run),
        "Configuration": _configuration(run),
        "Machine": _machine(run),
    }
    links = "".join(f'<a href="#{name.lower()}">{name}</a>' for name in sections)
    body = "".join(
        f'<section id="{name.lower()}"><h2>{name}</h2>{content}</section>'
        for name, content in sections.items()
    )
    title = f"{_said(run, 'task')} · {_said(run, 'model')} · {_said(run, 'recipe')}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<style>{style}</style></head><body><main>{_top(run)}"
        f'<nav aria-label="parts of this page">{links}</nav>{body}{_foot(run)}</main>'
        f"<script>{script}</script></body></html>\n"
    )


def _resource(name: str) -> str:
    return files("groupwise.report").joinpath(name).read_text("utf-8")


def _said(run: Run, name: str) -> str:
    return esc(plain(run.about.get(name) or f"{name} unknown"))


# ---------------------------------------------------------------- headline


def _top(run: Run) -> str:
    status = plain(run.result.get("status") or "no result yet")
    tone = "done" if status == "finished" else "open"
    said = [*filter(None, run.missing), *doubts([row for row in run.metrics if row["step"] > 0])]
    missing = "".join(f"<li>{esc(sentence)}</li>" for sentence in said)
    notes = f'<ul class="missing" aria-label="what to know first">{missing}</ul>' if missing else ""
    return (
        f'<header class="top"><h1>{_said(run, "task")}</h1><p class="names">{_said(run, "model")} · '
        f'{_said(run, "recipe")} · <span class="status {tone}">{esc(status)}</span></p>'
        f"{_headline(run)}{notes}</header>"
    )


def _headline(run: Run) -> str:
    """Held-out scores where there are any, else how the training reward moved so far."""
    scores, kind = _held_out(run), "Held-out"
    if not scores:
        names = dict.fromkeys(name for row in run.metrics for name in row if name.startswith("eval/"))
        scores, kind = _moved(run, list(names)), "Held-out, so far:"
    if not scores:
        scores, kind = _moved(run, ["reward"]), "Training"
    if not scores:
        return '<p class="nothing">No score yet.</p>'
    (name, before, after), *others = scores
    rest = "".join(f"<li>{_change(*score)} <span>{esc(score[0])}</span></li>" for score in others)
    more = f'<ul class="others">{rest}</ul>' if rest else ""
    return (
        f'<div class="headline"><p class="eyebrow">{kind} {esc(name)}</p>'
        f'<p class="big">{_change(name, before, after)}</p>{more}<p class="facts">{_facts(run)}</p></div>'
    )


def _change(name: str, before: float | None, after: float | None) -> str:
    words = f'<span class="before">{fmt(before, 3)}</span> <span class="arrow" aria-label="to">→</span> '
    if after is None:
        return words + '<span class="none">not yet</span>'
    delta = f' <span class="delta">{signed(after - before, 3)}</span>' if before is not None else ""
    return f'{words}<strong class="after">{fmt(after, 3)}</strong>{delta}'


def _held_out(run: Run) -> list[Score]:
    """By name; the reward is left out where another name has the same two numbers."""
    held_out = mapping(run.result.get("held_out"))
    before, after = mapping(held_out.get("before")), mapping(held_out.get("after"))
    names = [n for n in dict.fromkeys([*before, *after]) if number(before.get(n, after.get(n))) is not None]
    scores = [(name, number(before.get(name)), number(after.get(name))) for name in names]
    named = [score for score in scores if score[0] != "reward"]
    reward = [score for score in scores if score[0] == "reward"]
    return named if any(score[1:] == reward[0][1:] for score in named for _ in reward) else reward + named


def _moved(run: Run, names: list[str]) -> list[Score]:
    """First and last value of each metric."""
    scores: list[Score] = []
    for name in names:
        values = [value for _, value in run.points(name) if finite(value)]
        if values:
            scores.append((name.removeprefix("eval/"), values[0], values[-1] if len(values) > 1 else None))
    return scores


def _facts(run: Run) -> str:
    held_out = mapping(run.result.get("held_out"))
    best = mapping(held_out.get("best"))
    trained = sum(1 for row in run.metrics if row["step"] > 0)
    steps = number(run.result.get("steps"))
    seconds = number(run.result.get("train_seconds"))
    spent = sum(value for _, value in run.points("step_time") if finite(value))
    facts = []
    if (examples := number(held_out.get("examples"))) is not None:
        facts.append(counted(examples, "example") + _scored(held_out.get("scored"), examples))
    facts.append(counted(steps, "step") if steps is not None else counted(trained, "step") + " so far")
    if seconds is not None or spent:
        facts.append(_minutes(spent if seconds is None else seconds) + " of training")
    if best:
        values = ", ".join(
            f"{esc(name)} {fmt(value)}"
            for name in best
            if name != "step" and (value := number(best[name])) is not None
        )
        facts.append(f"best at step {fmt(number(best.get('step')))}: {values}")
    return " · ".join(facts)


def _scored(counts: object, examples: float) -> str:
    """How many of them, before and after, where it is not all."""
    known = [k for k in counts if number(k) is not None] if isinstance(counts, list) else []
    return f" (scored: {', then '.join(map(fmt, known))})" if any(k != examples for k in known) else ""


def _minutes(seconds: float) -> str:
    if seconds < 100:
        return f"{fmt(round(seconds, 1))} seconds"
    minutes = seconds / 60
    return f"{fmt(round(minutes, 1))} minutes" if minutes < 100 else f"{fmt(round(minutes / 60, 1))} hours"


def _film(run: Run) -> str:
    data = base64.b64encode(run.film).decode()
    return f'<img class="film" alt="the policy at play" src="data:image/gif;base64,{data}">'


# ---------------------------------------------------------------- answers before and after


def _examples(run: Run) -> str:
    found = run.result.get("answers")
    answers = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    if not answers:
        return '<p class="nothing">No answers from before and after training: they come with the result.</p>'
    changes = [
        after - before
        for row in answers
        if (before := number(row.get("reward_before"))) is not None
        and (after := number(row.get("reward_after"))) is not None
    ]
    better, worse = sum(c > 0 for c in changes), sum(c < 0 for c in changes)
    about = (
        '<p class="about">The same held-out prompts before and after training. Of '
        f"{len(changes):,} scored: {better:,} better, {worse:,} worse, "
        f"{len(changes) - better - worse:,} as before.</p>"
    )
    shown = [_example(row) for row in answers[:MAX_EXAMPLES]]
    folded = "".join(shown[OPEN_ANSWERS:])
    left_out = len(answers) - len(shown)
    more = f"{len(shown) - OPEN_ANSWERS} more" + (f" of {len(answers) - OPEN_ANSWERS:,}" if left_out else "")
    fold = f'<details class="else"><summary>{more}</summary>{folded}</details>' if folded else ""
    return about + "".join(shown[:OPEN_ANSWERS]) + fold


def _example(row: Row) -> str:
    sides = "".join(_side(row, side) for side in ("before", "after"))
    return (
        f'<article class="example"><div class="prompt">{prompt(row.get("prompt"))}</div>'
        f'<div class="sides">{sides}</div></article>'
    )


def _side(row: Row, side: str) -> str:
    text, reward = row.get(side), fmt(number(row.get(f"reward_{side}")))
    messages = row.get(f"messages_{side}")
    return (
        f'<div class="side {side}"><p class="facts">{side} <b>{reward}</b></p>'
        f"{prompt(messages) if messages else prose(DASH if text is None else plain(text))}</div>"
    )


# ---------------------------------------------------------------- settings and machine


def _configuration(run: Run) -> str:
    config = mapping(run.about.get("config"))
    if not config:
        return '<p class="nothing">run.json holds no configuration.</p>'
    command, rest = config.get("command"), {k: v for k, v in config.items() if k != "command"}
    if isinstance(command, list):
        command = shlex.join(plain(word) for word in command)
    line = (
        f'<div class="command"><code>{esc(plain(command))}</code>'
        '<button type="button" class="copy" hidden>Copy</button></div>'
        if command
        else ""
    )
    return f'{line}<table class="settings"><tbody>{_settings(rest)}</tbody></table>'


def _settings(values: Row, depth: int = 0) -> str:
    """Plain values first, then each nested table under its name."""
    rows = []
    for name, value in sorted(values.items(), key=lambda item: isinstance(item[1], dict)):
        indent = f'style="--depth:{depth}"'
        if isinstance(value, dict) and value:
            head = f'<tr class="nested"><th scope="rowgroup" colspan="2" {indent}>{esc(name)}</th></tr>'
            rows.append(head + _settings(value, depth + 1))
        else:
            rows.append(f'<tr><th scope="row" {indent}>{esc(name)}</th><td>{_setting(value)}</td></tr>')
    return "".join(rows)


def _setting(value: object) -> str:
    if value is None or value == {}:
        return '<span class="none">none</span>'
    if isinstance(value, bool):
        return "yes" if value else "no"
    return esc(repr(value) if isinstance(value, int | float) else plain(value))


def _machine(run: Run) -> str:
    machine = mapping(run.about.get("machine"))
    words = {"cpu": "CPU", "cores": "cores", "memory_gib": "memory, GiB", "gpu": "GPU", "dtype": "numbers"}
    made = {name: run.about.get(name) for name in ("seed", "commit", "created")}
    made["groupwise"] = run.about.get("groupwise")
    made |= mapping(run.about.get("versions"))
    tables = {"Machine": {words.get(k, k): v for k, v in machine.items()}, "Versions": made}
    return (
        '<div class="tables">'
        + "".join(
            f'<div><h3>{title}</h3><table class="settings"><tbody>{_settings(values)}</tbody></table></div>'
            if values
            else f'<div><h3>{title}</h3><p class="nothing">run.json does not say.</p></div>'
            for title, values in tables.items()
        )
        + "</div>"
    )


def _foot(run: Run) -> str:
    return f"<footer>Run folder {esc(run.name)}, made with groupwise {_said(run, 'groupwise')}.</footer>"
