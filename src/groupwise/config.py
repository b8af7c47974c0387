"""From settings to a `Run`: the one place that knows which values make up which kind of run."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console
from rich.markup import escape

from groupwise import conversing, seating, sources
from groupwise.advantages import gdpo
from groupwise.budgets import check_learnable, grouping_of, suited
from groupwise.checkpoints import Checkpoints
from groupwise.engine.sampling import Sampling
from groupwise.envs.text import Conversations
from groupwise.groups import Grouping
from groupwise.journal import RunJournal
from groupwise.learner import Learner, Optimization
from groupwise.losses import k3
from groupwise.metrics import TensorBoard, Writer
from groupwise.models import Loaded, Lora, Say, load
from groupwise.planning.inputs import Outlook, foresee
from groupwise.policies import LanguagePolicy
from groupwise.precision import best_device, best_dtype
from groupwise.recipes import RECIPES, Recipe
from groupwise.rewards.catalogue import load_reward
from groupwise.rewards.guard import Guard, guard_of
from groupwise.rewards.scoring import Scored, TrainerState, score
from groupwise.rollouts import Sampler, TextSampler
from groupwise.settings import ConfigError, Settings, completed
from groupwise.tasks.catalogue import load as load_task
from groupwise.tasks.task import Task, is_world
from groupwise.trainer import Run, Schedule
from groupwise.trajectory import Group
from groupwise.user_code import module_of
from groupwise.worlds import World, refuse_worldly, world_of


@dataclass(frozen=True, slots=True)
class Built:
    """A run and what is needed after it."""

    run: Run
    journal: RunJournal
    loaded: Loaded | None
    """None in worlds without language."""


def build(
    settings: Settings,
    folder: Path,
    console: Console,
    stopping: Callable[[], bool],
    trains: bool = True,
) -> Built:
    """Everything a run needs, checked before any long work: cheap checks first, the model last.

    `trains` False leaves out the checks of prompts and memory, for a run that only answers.

    Raises:
        ValueError (of many kinds): naming the setting, file or row at fault and the way out.
    """
    s = completed(settings)
    recipe, grouping, schedule, optimization = _checked(s)
    world = world_of(s, folder) if is_world(s.task) else _language(s, folder, console, trains)
    recipe = _weighted(recipe, world.task)
    learner = Learner(world.policy, optimization, world.dtype)
    reference = world.policy.frozen() if recipe.needs_reference else None
    if recipe.refresh is not None and reference is not None:
        if not reference.weights:
            raise ConfigError(
                f"recipe {s.recipe} moves its reference, and with --lora-rank {s.lora_rank} that is the "
                "base model itself: set --lora-rank 0, or take a recipe with refresh=None"
            )
        learner.reference = reference
    unit = "step" if is_world(s.task) else "tok"
    journal = RunJournal(folder, schedule.steps, world.task.measure, console, _writers(s, folder), unit)
    run = Run(
        folder=folder,
        seed=s.seed,
        task=world.task,
        recipe=recipe,
        grouping=grouping,
        schedule=schedule,
        sampler=world.sampler,
        score=world.score,
        policy=world.policy,
        learner=learner,
        reference=reference,
        tokens_per_microbatch=_known(s.tokens_per_microbatch),
        checkpoints=Checkpoints(folder, s.keep, world.spared),
        journal=journal,
        stopping=stopping,
        guard=_guard(s, world.task),
    )
    return Built(run, journal, world.loaded)


def _checked(s: Settings) -> tuple[Recipe, Grouping, Schedule, Optimization]:
    """What settings make by themselves."""
    schedule, grouping = _schedule(s), grouping_of(s)
    made = suited(recipe_of(s), grouping, s), grouping, schedule, _optimization(s)
    if not 0 <= s.seed < 2**63:
        raise ConfigError(f"--seed {s.seed}: a whole number from 0 to 2^63 - 1")
    if _known(s.tokens_per_microbatch) < 1 or s.keep < 1 or s.lora_rank < 0:
        raise ConfigError(
            f"tokens_per_microbatch {s.tokens_per_microbatch}, keep {s.keep} (both at least 1), "
            f"lora_rank {s.lora_rank} (at least 0)"
        )
    if s.temperature is not None and s.temperature <= 0:
        raise ConfigError(f"--temperature {s.temperature}: training samples, so it has to be above 0")
    guard_of(s.guard, {})
    seating.refuse(s, made[0])
    conversing.refuse(s)
    return made


def outlook(settings: Settings, say: Say) -> Outlook:
    """What a language model's run will need, of the settings of `train`; its weights are not loaded.

    Raises:
        ValueError (of many kinds): as `build`.
    """
    s = completed(settings)
    _checked(s)
    task = _task(s)
    check_learnable(task, s)
    return _outlook(s, task, say)


def _outlook(s: Settings, task: Task, say: Say) -> Outlook:
    reference = recipe_of(s).needs_reference
    return foresee(s, task, _sampling(s, task), device_of(s), dtype_of(s), reference, say)


def _task(s: Settings) -> Task:
    device = device_of(s)
    rewards = tuple(load_reward(spec, device) for spec in s.reward)
    gold = tuple(load_reward(spec, device) for spec in s.gold)
    if conversing.is_conversation(s.task):
        return conversing.task(s, rewards, gold)
    return load_task(s.task, rewards, s.held_out_file, s.seed, _known(s.held_out), s.allow_unsafe_code, gold)


def _guard(s: Settings, task: Task) -> Guard:
    return guard_of(s.guard, {reward.name: reward.weight for reward in task.rewards})


def _language(s: Settings, folder: Path, console: Console, trains: bool) -> World:
    def say(text: str) -> None:
        console.print(f"[dim]{text} ...[/]")

    def tell(text: str) -> None:
        console.print(f"[yellow]{escape(text)}[/]", highlight=False)

    refuse_worldly(s)
    task, device, dtype = _task(s), device_of(s), dtype_of(s)
    if trains:
        check_learnable(task, s)
        ahead = _outlook(s, task, say)
        if s.check_memory:
            ahead.refuse_too_large()
    lora = Lora(s.lora_rank, s.lora_alpha, s.seed) if s.lora_rank else None
    loaded = load(s.model, device, dtype, lora, say)
    sampling = _sampling(s, task)
    policy = LanguagePolicy(loaded.model, sampling.temperature)
    own = TextSampler(policy, loaded.tokenizer, sampling, s.seed)
    sampler: Sampler = own
    if isinstance(task, Conversations):
        sampler = conversing.sampler(s, task, own, tell)
    if trains and s.seats is not None:
        place = sources.Place(s.model, folder, s.save_every, dtype, ahead.work.sequence)
        sampler = seating.sampler(s, recipe_of(s), own, loaded, place, say, tell)

    def scored(cohort: Sequence[Group], state: TrainerState) -> Scored:
        made = score(cohort, task.rewards, state, folder / "failed_reward.jsonl", task.gold)
        return conversing.unpaid(made, task)

    # an adapter's weights are float32 whatever its base computes in
    trained = torch.float32 if lora else dtype
    return World(task, policy, sampler, scored, trained, loaded, seating.spared(s))


def _weighted(recipe: Recipe, task: Task) -> Recipe:
    """One that normalises each part of the reward takes the rewards' own weights, unless it names some."""
    if not isinstance(recipe.advantage, gdpo) or recipe.advantage.weights:
        return recipe
    weights = {reward.name: reward.weight for reward in task.rewards}
    return replace(recipe, advantage=replace(recipe.advantage, weights=weights))


def _writers(s: Settings, folder: Path) -> list[Writer]:
    if not s.tensorboard:
        return []
    try:
        return [TensorBoard(folder / "tensorboard")]
    except ImportError as error:
        raise ConfigError("tensorboard is not installed: pip install -e '.[tensorboard]'") from error


def device_of(s: Settings) -> torch.device:
    if s.device == "auto":
        return best_device()
    try:
        device = torch.device(s.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {s.device}: {str(error).splitlines()[0]}") from error
    return device


def dtype_of(s: Settings) -> torch.dtype:
    if s.dtype == "auto":
        return best_dtype(device_of(s))
    if s.dtype not in ("float32", "bfloat16"):
        raise ConfigError(f"--dtype {s.dtype}: float32, bfloat16 or auto")
    return torch.float32 if s.dtype == "float32" else torch.bfloat16


def _optimization(s: Settings) -> Optimization:
    return Optimization(
        learning_rate=_known(s.learning_rate),
        warmup_steps=s.warmup_steps,
        decay_steps=_known(s.decay_steps),
        epochs=_known(s.epochs),
        minibatches=s.minibatches,
        max_grad_norm=s.max_grad_norm,
        weight_decay=s.weight_decay,
    )


def _schedule(s: Settings) -> Schedule:
    return Schedule(
        _known(s.steps), _known(s.prompts), s.evaluate_every, s.save_every, held_out=_known(s.held_out)
    )


def _sampling(s: Settings, task: Task) -> Sampling:
    tokens = task.max_new_tokens if s.max_new_tokens is None else s.max_new_tokens
    temperature = task.temperature if s.temperature is None else s.temperature
    return Sampling(tokens, temperature, s.stop or task.stop, s.max_rows)


Number = TypeVar("Number", int, float)


def _known(value: Number | None) -> Number:
    """A setting that `completed` has filled in."""
    assert value is not None
    return value


def recipe_of(settings: Settings) -> Recipe:
    """The named recipe with the user's KL and entropy scales."""
    recipe = _named_recipe(settings.recipe or "dapo")
    if settings.kl_scale == 0:
        recipe = replace(recipe, kl=None, kl_scale=0.0, reward_kl=0.0, kl_control=None, refresh=None)
    elif settings.kl_scale is not None and recipe.reward_kl:
        recipe = replace(recipe, reward_kl=settings.kl_scale)
    elif settings.kl_scale is not None:
        recipe = replace(recipe, kl=recipe.kl or k3, kl_scale=settings.kl_scale)
    if settings.entropy_scale is not None:
        recipe = replace(recipe, entropy_scale=settings.entropy_scale)
    return recipe if settings.seats is None else seating.corrected(recipe)


def _named_recipe(name: str) -> Recipe:
    if name in RECIPES:
        return RECIPES[name]
    place, _, attribute = name.rpartition(":")
    if not place:
        close = difflib.get_close_matches(name, RECIPES, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(
            f"unknown recipe {name!r}.{hint} There are {', '.join(RECIPES)}; your own is FILE.py:NAME."
        )
    found = getattr(module_of(place), attribute, None)
    if found is None:
        raise ConfigError(f"{place} has no {attribute!r}, which --recipe asks for")
    if not isinstance(found, Recipe):
        raise ConfigError(f"recipe {name!r} is a {type(found).__name__}, not a groupwise.Recipe")
    return found
