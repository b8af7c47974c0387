"""TRL's own virtual environment, so that neither side's packages are chosen by the other's."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "trl-requirements.txt"
FOLDER = HERE / ".trl-venv"
VARIABLE = "TRL_PYTHON"
"""Environment variable: an interpreter that has TRL already."""

PROBE = """
import json, platform
from importlib.metadata import version
found = {name: version(name) for name in ("trl", "torch", "transformers")}
import trl
print(json.dumps({"python": platform.python_version(), **found}))
"""


class TrlMissingError(RuntimeError):
    """TRL could not be installed or does not run; the message says why."""


def trl_python(given: Path | None = None, folder: Path = FOLDER) -> Path:
    """An interpreter with TRL: the one given, the one $TRL_PYTHON names, or that of our own environment.

    Raises:
        TrlMissingError: with the end of what pip said.
    """
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is not None:
        return named.expanduser().absolute()  # not resolved: a venv's interpreter is a link
    if not _complete(folder):
        _create(folder)
    return _interpreter(folder)


def versions(python: Path) -> dict[str, str]:
    """Versions of python, trl, torch and transformers there.

    Raises:
        TrlMissingError: one of them is missing, or trl does not import.
    """
    try:
        done = subprocess.run([str(python), "-c", PROBE], capture_output=True, text=True, check=False)
    except OSError as error:
        raise TrlMissingError(f"TRL could not be run: {python.name}: {error.strerror}") from error
    if done.returncode:
        raise TrlMissingError(f"TRL could not be imported: {_end(done.stderr)}")
    return json.loads(done.stdout.splitlines()[-1])


def _create(folder: Path) -> None:
    print(f"installing TRL into {folder.name} (once)", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted attempt left
    _run("make a virtual environment", [sys.executable, "-m", "venv", str(folder)])
    pip = [str(_interpreter(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run("install trl-requirements.txt", [*pip, "-r", str(REQUIREMENTS)])
    _marker(folder).write_text(_fingerprint())


def _run(what: str, command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise TrlMissingError(f"TRL could not be installed: cannot {what}: {error.strerror}") from error
    if done.returncode:
        raise TrlMissingError(f"TRL could not be installed: cannot {what}: {_end(done.stderr)}")


def _end(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return " ".join(lines[-2:])[-400:] or "no message"


def _complete(folder: Path) -> bool:
    marker = _marker(folder)
    return marker.is_file() and marker.read_text() == _fingerprint() and _interpreter(folder).exists()


def _marker(folder: Path) -> Path:
    return folder / "installed"


def _fingerprint() -> str:
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()


def _interpreter(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
