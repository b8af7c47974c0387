"""From settings to groups: how a step's answers are shared out, replaced, passed over and trained on."""

from __future__ import annotations

from dataclasses import replace

from groupwise.advantages import Advantage
from groupwise.groups import (
    Allocate,
    Grouping,
    allocators,
    by_spread,
    drawn,
    extremes,
    knapsack,
    seldom,
    top,
    uniform,
)
from groupwise.losses import each_group_alike
from groupwise.recipes import Recipe, scale_depends_on_size
from groupwise.settings import ConfigError, Settings, shared
from groupwise.tasks.task import Task, is_world

SIZES: dict[str, Allocate] = {"uniform": uniform, "variance": by_spread, "knapsack": knapsack()}
"""By the name that --sizes knows them by."""
SMALLEST, LARGEST = 4, 32
"""Groups, where sizes differ and nothing else is said."""
SUBSETS = ("extremes", "top", "drawn")


def grouping_of(s: Settings) -> Grouping:
    """Of completed settings.

    Raises:
        ConfigError, ValueError: naming the flags that do not go together, with their numbers.
    """
    assert s.prompts is not None and s.group_size is not None  # noqa: PT018
    if s.sizes not in SIZES:
        raise ConfigError(f"--sizes {s.sizes}: choose from {', '.join(SIZES)}")
    if is_world(s.task) and (s.sizes != "uniform" or s.skip_solved):
        raise ConfigError(
            f"{_flags(s)}: goes by what earlier steps taught about a prompt, and the start states of "
            f"{s.task} hardly ever come twice. Leave it away."
        )
    if s.sizes == "uniform" and (s.min_group is not None or s.max_group is not None):
        raise ConfigError(
            f"--min-group {s.min_group}, --max-group {s.max_group}: with --sizes uniform all groups are "
            "alike. Set --group-size, or choose --sizes variance or knapsack."
        )
    _refuse_with_seats(s)
    if s.answers is not None and s.group_size != shared(s.answers, s.prompts):
        raise ConfigError(
            f"--answers {s.answers} for {s.prompts} prompts is {shared(s.answers, s.prompts)} to each, and "
            f"--group-size is {s.group_size}. Leave one of them out."
        )
    bounds = {}
    if s.sizes != "uniform":
        bounds = {
            "low": SMALLEST if s.min_group is None else s.min_group,
            "high": LARGEST if s.max_group is None else s.max_group,
        }
    grouping = Grouping(
        s.group_size,
        s.answers,
        SIZES[s.sizes],
        resample=s.resample,
        skip=seldom() if s.skip_solved else None,
        kind=s.kind,
        **bounds,
    )
    allocators.check(s.prompts, grouping.budget(s.prompts), grouping.low, grouping.high)
    return grouping


def _refuse_with_seats(s: Settings) -> None:
    given = {"--sizes": s.sizes != "uniform", "--answers": s.answers, "--train-on": s.train_on}
    flags = [flag for flag, value in given.items() if value]
    if flags and s.seats:
        raise ConfigError(
            f"{', '.join(flags)} with --seats: seats are shared out for groups of one size, and their "
            "ratios hold for all of a group's answers. Leave one of them away."
        )


def suited(recipe: Recipe, grouping: Grouping, s: Settings) -> Recipe:
    """The recipe for groups of these sizes, trained on the answers that --train-on asks for.

    Where sizes differ, every prompt counts alike: else a prompt would count by how often it was asked.
    """
    assert s.prompts is not None
    if grouping.varies(s.prompts):
        if scale_depends_on_size(recipe):
            raise ConfigError(
                f"--recipe {s.recipe} divides an advantage by its group's deviation or mean, whose scale "
                "depends on the group's size: where sizes differ, prompts would count by how often they were "
                "asked. "
                "Take --recipe rloo (leave_one_out: alike for every size) or dr_grpo (center), or your own "
                "Recipe with one of these advantages."
            )
        recipe = replace(recipe, weigh=each_group_alike(recipe.weigh))
    if s.train_on is None:
        return recipe
    if not recipe.skips_zero_advantage:
        raise ConfigError(
            f"--train-on {s.train_on} saves nothing with a KL or entropy term, a selection, or a surrogate "
            "of your own: answers left out are computed all the same. Set --kl-scale 0 and --entropy-scale "
            "0, take another recipe, or leave --train-on away."
        )
    return replace(recipe, advantage=_subset(recipe.advantage, grouping, s))


def _subset(advantage: Advantage, grouping: Grouping, s: Settings) -> Advantage:
    assert s.train_on is not None and s.prompts is not None  # noqa: PT018
    name, _, number = s.train_on.rpartition(":")
    name = name or "extremes"
    if name not in SUBSETS or not number.isdecimal() or int(number) < 2:
        raise ConfigError(
            f"--train-on {s.train_on}: 2 answers or more, and how they are chosen: extremes:8 (or just 8: "
            "those whose rewards differ most), top:8 (the largest advantages) or drawn:8 (at random, without "
            "bias)"
        )
    n = int(number)
    largest = grouping.high if s.sizes != "uniform" else -(-grouping.budget(s.prompts) // s.prompts)
    if n >= largest:
        raise ConfigError(
            f"--train-on {s.train_on}: no group has more than {largest} answers, so none would be left out. "
            f"Take a number below {largest}, or larger groups."
        )
    if name == "drawn":
        return drawn(advantage, n, s.seed)
    return extremes(advantage, n) if name == "extremes" else top(advantage, n)


def check_learnable(task: Task, s: Settings) -> None:
    """Raises ConfigError where nothing that a step teaches could be of use to a later one."""
    assert s.prompts is not None and s.steps is not None  # noqa: PT018
    columns = [name for name in task.train[0] if name != "prompt"]
    told = s.kind in columns
    if s.kind != Settings.kind and not told:
        raise ConfigError(
            f"--kind {s.kind}: the rows of {task.name} have no such column. They have: {', '.join(columns)}"
        )
    asked = s.steps * s.prompts
    if asked > len(task.train) or not (s.skip_solved or (s.sizes != "uniform" and not told)):
        return
    way = "" if s.skip_solved else ", or name a column that says of which kind a row is (--kind level)"
    raise ConfigError(
        f"{_flags(s)}: goes by what earlier steps taught about a row, and {s.steps} steps of {s.prompts} "
        f"prompts draw {asked} of the {len(task.train)} rows of {task.name}: none comes twice. Take more "
        f"--steps or fewer rows{way}."
    )


def _flags(s: Settings) -> str:
    sizes = [f"--sizes {s.sizes}"] if s.sizes != "uniform" else []
    return ", ".join([*sizes, *(["--skip-solved"] if s.skip_solved else [])])
