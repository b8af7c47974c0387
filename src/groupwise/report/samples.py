"""The browser of samples: what was asked, what the siblings answered, and what that was worth."""

from __future__ import annotations

from groupwise.report.files import Row, Run, finite, mapping, number
from groupwise.report.markup import counted, esc, fmt, pairs, plain, prose, signed


def samples(run: Run) -> str:
    """Every step is there without JavaScript; the script shows one at a time."""
    found = run.samples
    if not found.total:
        return '<p class="nothing">No answer has been written yet.</p>'
    shown = (
        f"All {found.total:,} answers."
        if found.shown == found.total
        else f"{found.shown:,} of {found.total:,} answers: whole groups from {len(found.steps)} of "
        f"{found.total_steps:,} steps, spread evenly over the run. samples.jsonl holds all of them."
    )
    picker = (
        '<div class="picker" hidden><button type="button" data-move="-1" aria-label="earlier step">←</button>'
        f'<input type="range" min="0" max="{len(found.steps) - 1}" value="{len(found.steps) - 1}" '
        'step="1" aria-label="step"><button type="button" data-move="1" aria-label="later step">→</button>'
        "<output></output></div>"
    )
    steps = "".join(_step(step, groups) for step, groups in found.steps.items())
    return f'<p class="about">{shown} Siblings answer the same prompt; best first.</p>{picker}{steps}'


def prompt(content: object) -> str:
    """Text, chat messages, or the seed of a start state."""
    if isinstance(content, list):
        return "".join(
            f'<div class="message"><span class="role">{esc(plain(mapping(m).get("role", "")))}</span>'
            f"{prose(plain(mapping(m).get('content', m)))}</div>"
            for m in content
        )
    if isinstance(content, int):
        return f'<div class="prose seed">start state of seed {content}</div>'
    return prose(plain(content)) if content is not None else '<div class="prose none">no prompt</div>'


def _step(step: int, groups: list[list[Row]]) -> str:
    advantages = [number(row.get("advantage")) for group in groups for row in group]
    largest = max((abs(a) for a in advantages if a is not None and finite(a)), default=0.0)
    body = "".join(_group(group, largest) for group in groups)
    return f'<div class="step" data-step="{step}"><h3>Step {step:,}</h3>{body}</div>'


def _group(rows: list[Row], largest: float) -> str:
    rewards = [r for row in rows if (r := number(row.get("reward"))) is not None and finite(r)]
    facts = [f"group {esc(plain(rows[0].get('group', '?')))}", counted(len(rows), "answer")]
    if rewards:
        facts.append(f"mean reward {fmt(sum(rewards) / len(rewards))}")
    if len(rewards) > 1 and min(rewards) == max(rewards):
        facts.append("no spread, so no signal")
    columns = mapping(rows[0].get("columns"))
    expected = f'<p class="columns">{pairs(columns)}</p>' if columns else ""
    siblings = "".join(_answer(row, largest) for row in sorted(rows, key=_worst_last))
    return (
        f'<article class="group"><header><p class="facts">{" · ".join(facts)}</p>'
        f'<div class="prompt">{prompt(rows[0].get("prompt"))}</div>{expected}</header>'
        f'<ol class="siblings">{siblings}</ol></article>'
    )


def _worst_last(row: Row) -> float:
    reward = number(row.get("reward"))
    return -reward if reward is not None and finite(reward) else float("inf")


def _answer(row: Row, largest: float) -> str:
    reward, text = number(row.get("reward")), plain(row.get("text") or "")
    policy, stopped = mapping(row.get("policy")), plain(row.get("stopped", "unknown"))
    decisions = number(row.get("n_decisions"))
    mute = isinstance(row.get("prompt"), int)  # a world that has no words: a limit of time is no fault there
    early = stopped not in (("finished", "length") if mute else ("finished",))
    facts = [f'<span class="stopped {"early" if early else ""}">{esc(stopped)}</span>']
    if decisions is not None:
        facts.append(counted(decisions, "decision"))
    if policy:
        facts.append(f"{esc(plain(policy.get('name', '')))} v{esc(plain(policy.get('version', '?')))}")
    facts += [pairs(values) for name in ("parts", "gold", "extra") if (values := mapping(row.get(name)))]
    worth = fmt(reward) if reward is not None else "not scored"
    said = prompt(row["messages"]) if row.get("messages") else prose(text)
    if not text and not row.get("messages"):
        said = "" if mute else '<div class="prose none">no text</div>'
    return (
        f'<li><div class="worth"><span class="reward{"" if reward is not None else " none"}">{worth}</span>'
        f'{_advantage(number(row.get("advantage")), largest)}</div><div class="said">'
        f'{said}<p class="facts">{" · ".join(facts)}</p></div></li>'
    )


def _advantage(value: float | None, largest: float) -> str:
    if value is None:
        return ""
    share = 50 * abs(value) / largest if finite(value) and largest > 0 else 0.0
    side = "left" if value >= 0 else "right"
    return (
        f'<span class="advantage" title="advantage {signed(value)}"><span class="axis" aria-hidden="true">'
        f'<i class="{"up" if value >= 0 else "down"}" style="{side}:50%;width:{share:.1f}%"></i></span>'
        f'<span class="number">{signed(value)}</span></span>'
    )
