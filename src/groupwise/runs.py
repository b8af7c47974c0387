"""A run folder: opened before training, finished after it, read back by eval, chat and report."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from groupwise import __version__, conversing
from groupwise.checkpoints import Checkpoints, State, load, replacing
from groupwise.config import Built, build, device_of, dtype_of
from groupwise.settings import ConfigError, Settings, completed, from_mapping
from groupwise.tasks.task import is_world

FREE = ("steps", "tokens_per_microbatch", "max_rows", "check_memory")
"""What may change when a run is resumed: how long it goes on, and how much memory it takes."""
LOCK = ".lock"
"""The file in a run's folder that the process which writes there has locked."""
PACKAGES = ("torch", "transformers", "numpy", "safetensors", "peft", "gymnasium")


def new_folder(settings: Settings) -> Path:
    """The folder that a new run may have: as asked, or the next runs/TASK-N, made here and so taken.

    Raises:
        ConfigError: it already holds a run.
    """
    if settings.out is not None:
        if (settings.out / "run.json").exists():
            raise ConfigError(
                f"{settings.out} already holds a run. Go on with it: groupwise train --resume "
                f"{settings.out}; or choose another --out."
            )
        if settings.out.exists() and not settings.out.is_dir():
            raise ConfigError(f"--out {settings.out} is a file; a folder is needed")
        return settings.out
    stem = "".join(c if c.isalnum() else "-" for c in settings.task.partition(":")[0].split("/")[-1])
    n = 1
    while True:
        path = Path("runs") / f"{stem}-{n}"
        with suppress(FileExistsError):  # also where another run takes it at this moment
            path.mkdir(parents=True)
            return path
        n += 1


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder is this process's alone; the kernel lets go of it when the process ends, however it ends.

    Raises:
        ConfigError: another process writes there. Two would leave a run that is neither's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another process is writing into {folder}: wait until it has ended, end it, or choose "
                "another --out."
            ) from None
        except OSError:  # a file system without locks
            pass
        yield


def give_up(folder: Path) -> None:
    """Remove the folder of a run that could not begin, and the one around it, if nothing is in them."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
        folder.rmdir()
        folder.parent.rmdir()


def begin(folder: Path, settings: Settings) -> None:
    """Write run.json: all that is needed to know what this run was, and to resume it."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = completed(settings)
    facts = {
        "groupwise": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "task": settings.task,
        "model": "a small network" if is_world(settings.task) else settings.model,
        "recipe": settings.recipe,
        "seed": settings.seed,
        "commit": _commit(),
        "config": {k: v for k, v in _plain(settings).items() if k not in ("config", "resume", "out")},
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": machine(settings),
    }
    write_json(folder / "run.json", facts)


def extend(folder: Path, settings: Settings) -> None:
    """Note in run.json what a resumed run may change, so that resuming it once more needs no flag.

    Raises:
        ConfigError: fewer steps than the run has behind it.
    """
    done = max(Checkpoints(folder).steps(), default=0)
    if settings.steps is not None and settings.steps < done:
        raise ConfigError(f"--steps {settings.steps}: {folder} has {done} steps behind it already")
    facts = json.loads((folder / "run.json").read_text("utf-8"))
    new = {name: getattr(settings, name) for name in FREE}
    if any(facts["config"].get(name) != value for name, value in new.items()):
        facts["config"] |= new
        write_json(folder / "run.json", facts)


def moved(folder: Path, settings: Settings) -> str:
    """A sentence where this machine computes otherwise than the one that the run began on; else empty."""
    then, now = json.loads((folder / "run.json").read_text("utf-8")).get("machine", {}), machine(settings)
    names = [name for name in ("device", "dtype", "threads") if name in then and then[name] != now[name]]
    changes = ", ".join(f"{name} {then[name]} then and {now[name]} now" for name in names)
    return changes and (
        f"{folder} began on other terms ({changes}): it goes on from its last checkpoint, but its numbers "
        "will not be those of a run that nobody interrupted."
    )


def settings_of(folder: Path) -> Settings:
    """The settings that a run folder was made with.

    Raises:
        ConfigError: there is no run in the folder.
    """
    path = folder / "run.json"
    try:
        facts = json.loads(path.read_text("utf-8"))
        return from_mapping(facts["config"], str(path))
    except FileNotFoundError as error:
        raise ConfigError(f"{folder} holds no run: there is no {path}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def opened(name: str, task: str | None = None, rewards: tuple[str, ...] = ()) -> Built:
    """A run folder, a checkpoint in one, or a model, ready to evaluate or to talk to.

    Raises:
        ValueError (of many kinds): naming what cannot be found or read.
    """
    path = Path(name)
    folder, step = (path.parent.parent, path.name) if path.parent.name == "checkpoints" else (path, None)
    if not (folder / "run.json").exists():
        return _build(Settings(task=task or "arithmetic", model=name, reward=rewards))
    # held-out games know their opponents, and those of training may be gone
    settings = replace(settings_of(folder), tensorboard=False, opponents=None)
    if task is not None:
        settings = replace(settings, task=task, reward=(), gold=(), held_out_file=None)
        # another task has limits of its own, and nobody else is asked
        settings = replace(settings, max_turns=None, max_context=None, tokens_per_microbatch=None, seats=None)
    settings = replace(settings, reward=rewards or settings.reward)
    checkpoints = Checkpoints(folder)
    if step is None and not checkpoints.steps():  # deleted, or none written yet
        if not (folder / "model").is_dir():
            raise ConfigError(f"{folder} has neither a checkpoint nor a model yet")
        return _build(replace(settings, model=str(folder / "model"), lora_rank=0))
    if step is not None and not path.is_dir():
        raise ConfigError(f"there is no {path}; the run has checkpoints {checkpoints.steps()}")
    built = _build(settings)
    state = load(path, built.run.learner) if step is not None else checkpoints.resume(built.run.learner)
    if state is None:
        raise ConfigError(f"{folder} has no checkpoint that is whole")
    built.run.sampler.load(state.step)
    built.run.sampler.recall(state.sampler)
    return built


def of_environment(name: str) -> bool:
    """True for the folder of a run that is of no language model."""
    return (Path(name) / "run.json").exists() and is_world(settings_of(Path(name)).task)


def of_conversations(name: str) -> bool:
    """True for the folder, or a checkpoint, of a run in which a model talks to an environment."""
    path = Path(name)
    folder = path.parent.parent if path.parent.name == "checkpoints" else path
    return (folder / "run.json").exists() and conversing.is_conversation(settings_of(folder).task)


def _build(settings: Settings) -> Built:
    return build(settings, Path(), Console(quiet=True), lambda: False, trains=False)


def finish(folder: Path, built: Built, state: State) -> Mapping[str, Any]:
    """Write result.json and, for a language model, model/: a folder that transformers loads."""
    complete = state.step >= built.run.schedule.steps
    result = {
        "status": "finished" if complete else "stopped by the guard" if state.stopped else "interrupted",
        "steps": state.step,
        "train_seconds": round(state.train_seconds, 1),
        "held_out": _held_out(folder, state),
        "answers": _before_after(folder, built.run.task.measure),
    }
    write_json(folder / "result.json", result)
    if built.loaded is not None:
        export(folder, built)
    return result


def export(folder: Path, built: Built) -> None:
    """model/: weights and tokenizer, a LoRA adapter merged; adapter/: the adapter alone.

    Merging is in place, so this comes last.
    """
    assert built.loaded is not None
    model = built.loaded.model.model
    if hasattr(model, "merge_and_unload"):
        model.save_pretrained(folder / "adapter")
        model = model.float().merge_and_unload()  # in 16 bits a small update would round away
    work, target = folder / ".writing-model", folder / "model"
    shutil.rmtree(work, ignore_errors=True)
    model.save_pretrained(work)
    built.loaded.tokenizer.save_pretrained(work)
    shutil.rmtree(target, ignore_errors=True)
    work.rename(target)


def write_json(path: Path, value: Any) -> None:
    with replacing(path) as work:
        work.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _held_out(folder: Path, state: State) -> dict[str, Any]:
    evaluations = read_lines(folder / "evaluations.jsonl")
    last = evaluations[-1] if len(evaluations) > 1 else None
    return {
        "examples": len(evaluations[0]["answers"]) if evaluations else 0,
        "scored": [_scored(one) for one in (*evaluations[:1], *evaluations[1:][-1:])],
        "before": dict(state.before),
        "after": last["scores"] if last else None,
        "best": dict(state.best) or None,
    }


def _scored(evaluation: Mapping[str, Any]) -> int:
    """Answers with a reward: one on which the world failed has none, nor one that could not be judged."""
    return sum(answer["reward"] is not None for answer in evaluation["answers"])


def _before_after(folder: Path, measure: str, n: int = 12) -> list[dict[str, Any]]:
    """The first held-out prompts with their answers before and after training."""
    evaluations = read_lines(folder / "evaluations.jsonl")
    if len(evaluations) < 2:
        return []
    pairs = zip(evaluations[0]["answers"][:n], evaluations[-1]["answers"][:n], strict=True)
    return [
        {
            "prompt": a["prompt"],
            "before": a["text"],
            "after": b["text"],
            **(
                {"messages_before": a["messages"], "messages_after": b["messages"]} if "messages" in a else {}
            ),
            "reward_before": a["reward"],
            "reward_after": b["reward"],
            "right": (_measured(b, measure) or 0) > 0,
        }
        for a, b in pairs
    ]


def _measured(answer: Mapping[str, Any], measure: str) -> float | None:
    """What an answer got by a task's measure."""
    if measure.startswith("gold/"):
        return answer.get("gold", {}).get(measure.removeprefix("gold/"))
    return answer["parts"].get(measure, answer["reward"])


def read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def _plain(settings: Settings) -> dict[str, Any]:
    return {
        f.name: str(v) if isinstance(v := getattr(settings, f.name), Path) else v
        for f in dataclasses.fields(settings)
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine(settings: Settings) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": torch.cpu.get_capabilities().get("cpu_name") or platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(memory, 1),
        "gpu": gpu,
        "device": "cpu" if is_world(settings.task) else str(device_of(settings)),
        "dtype": "float32" if is_world(settings.task) else str(dtype_of(settings))[6:],
    }


def _commit() -> str | None:
    """The commit of the code that runs, when it runs from a checkout."""
    here = Path(__file__).parent
    if not (here.parents[1] / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
