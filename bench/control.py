"""Control beside stable-baselines3's PPO: the same steps, one thread each, turn and turn about.

    python bench/control.py                                what is missing, run by run
    python bench/control.py --only CartPole-v1             one environment
    python bench/control.py --only Hopper-v5:1:ppo         one of its runs
    python bench/control.py --draw-only                    table and picture from the kept figures

Each run is a process of its own, and its curve is put into bench/results/control.json when it is done, so the
whole can be measured in pieces; a run whose settings have changed since is measured again. Run it
from the root of the repository. Which side goes
first alternates with the seed. Needs: pip install stable-baselines3 minigrid highway-env
'gymnasium[box2d,mujoco]'.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import record
from control_pictures import baselines, picture, table
from control_setups import EVERY, Setup

HERE = Path(__file__).parent
SIDES = ("ours", "ppo")
SEEDS = (1, 2, 3)
PACKAGES = ("gymnasium", "stable-baselines3", "minigrid", "highway-env", "mujoco")
Found = dict[str, Any]


def settings(setup: Setup, side: str) -> dict[str, Any]:
    """All that a run's figures depend on, but its seed."""
    own: dict[str, Any] = {"steps": setup.steps, "episodes": setup.episodes, "world": setup.world}
    if side == "ours":
        return {**own, "settings": dict(setup.ours)}
    return {**own, "settings": dict(setup.ppo), "wrapper": setup.wrapper}


def known(path: Path) -> Found:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def wanted(only: list[str]) -> Iterator[tuple[str, int, str]]:
    """(environment, seed, side), the sides by turns.

    Raises:
        SystemExit: a word of --only names nothing.
    """
    every = [
        (name, seed, side)
        for name, setup in EVERY.items()
        for seed in SEEDS
        for side in (SIDES if seed % 2 else SIDES[::-1])
        if setup.ppo or side == "ours"
    ]
    if not only:
        yield from every
    for word in only:
        name, *rest = word.split(":")
        chosen = [run for run in every if run[0] == name and [str(run[1]), run[2]][: len(rest)] == rest]
        if not chosen:
            sys.exit(f"--only {word}: ENVIRONMENT[:SEED[:SIDE]]; there are {'; '.join(EVERY)}")
        yield from chosen


def is_kept(found: Found, name: str, seed: int, side: str) -> bool:
    """True where the figures are there, and of these settings."""
    run = found.get(name, {}).get(side, {}).get(str(seed))
    return run is not None and run["of"] == settings(EVERY[name], side)


def of_now(found: Found) -> Found:
    """Without the runs of other settings than those in bench/control_setups.py: no table has both."""
    shown: Found = {}
    for name in EVERY.keys() & found.keys():
        for side, runs in found[name].items():
            kept = {seed: run for seed, run in runs.items() if is_kept(found, name, int(seed), side)}
            if kept:
                shown.setdefault(name, {})[side] = kept
    return shown


def keep(path: Path, name: str, seed: int, side: str, figures: Mapping[str, Any]) -> None:
    """Put one run among the others; the file is read again first, since another may have written."""
    sides = known(path).get(name, {})
    runs = {**sides.get(side, {}), str(seed): dict(figures)}
    record.merge(path, name, {**sides, side: dict(sorted(runs.items()))})


def measured(name: str, seed: int, side: str) -> Found:
    """Figures of one run, in a process of its own with one thread."""
    command = [sys.executable, __file__, "--worker", name, str(seed), side]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return json.loads(done.stdout.splitlines()[-1])


def worker(name: str, seed: int, side: str) -> None:
    """What `measured` starts: one run, told in a line."""
    from control_sides import run

    versions = {package: metadata.version(package) for package in PACKAGES}
    machine = {**record.machine(), **versions}
    figures = run(side, EVERY[name], seed)
    print(json.dumps({**figures, "of": settings(EVERY[name], side), "machine": machine}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="ENVIRONMENT[:SEED[:SIDE]]")
    parser.add_argument("--draw-only", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "control.json")
    parser.add_argument("--svg", type=Path, default=HERE.parent / "docs" / "control" / "curves.svg")
    parser.add_argument("--worker", nargs=3, metavar=("ENVIRONMENT", "SEED", "SIDE"), help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.worker:
        return worker(o.worker[0], int(o.worker[1]), o.worker[2])
    for name, seed, side in [] if o.draw_only else wanted(o.only):
        if is_kept(known(o.out), name, seed, side):
            continue
        figures = measured(name, seed, side)
        keep(o.out, name, seed, side, figures)
        steps, wall, processor, greedy, drawn = figures["points"][-1]
        print(
            f"{name} seed {seed} {side}: {greedy:g} greedy, {drawn:g} drawn after {steps:.0f} steps, "
            f"{wall:.0f} s ({processor:.0f} s of the processor)",
            flush=True,
        )
    found = of_now(known(o.out))
    o.svg.parent.mkdir(parents=True, exist_ok=True)
    o.svg.write_text(picture(found), "utf-8")
    print(f"{table(found)}\n\n{baselines(found)}\n")
    print(f"{o.out}\n{o.svg}")


if __name__ == "__main__":
    main()
