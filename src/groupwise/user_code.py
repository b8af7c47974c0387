"""A user's own module, by file or by name, for rewards and recipes."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from pathlib import Path
from types import ModuleType

INSTALLED = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))
"""Where code is nobody's of a user."""
OURS = str(Path(__file__).parent)


class UserCodeError(ValueError):
    """Code that cannot be found or does not import; names the place, the line and the way out."""


def module_of(place: str) -> ModuleType:
    """`path/file.py` or `package.module`. A file runs once, however often it is asked for.

    Modules beside the file, and modules in the working folder, can be imported.

    Raises:
        UserCodeError: there is no such file or module, or it raised.
    """
    return _file(Path(place).expanduser()) if place.endswith(".py") else _module(place)


def _file(path: Path) -> ModuleType:
    path = path.resolve()
    if not os.path.isfile(path):
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.py")], n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UserCodeError(f"there is no file {path}.{hint}")
    # Two files may both be called reward.py, and neither may hide a module of that name.
    name = f"_groupwise_user_{hashlib.blake2b(str(path).encode(), digest_size=8).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, path
    assert spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look the module up there
    _importable(path.parent)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _raised(str(path), error) from error
    return module


def _module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserCodeError(f"{name!r} is neither a .py file nor a module: write file.py:name.")
    _importable(Path.cwd())
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{name}.".startswith(f"{missing}."):
            raise UserCodeError(
                f"there is no module {missing!r}, here or installed. For a file write {name}.py:name."
            ) from error
        raise _raised(name, error) from error


def _importable(folder: Path) -> None:
    """Last on the path: a user's random.py must not take the place of Python's."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _raised(place: str, error: BaseException) -> UserCodeError:
    return UserCodeError(
        f"{place} raised when it was imported, {_line(error)}: {type(error).__name__}: {error}. "
        "It must import without errors: try python on it."
    )


def _line(error: BaseException) -> str:
    """The first line outside the import machinery that the error came through: the user's own."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    machinery = (__file__, importlib.__file__)
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename not in machinery and not frame.filename.startswith("<frozen importlib"):
            return f"{frame.filename}, line {frame.lineno}"
    return "at no known line"


def where(error: BaseException) -> str:
    """` (my_env.py:12)`: the innermost line of a user's own code that raised it; empty where none did."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if os.path.isfile(frame.filename) and not frame.filename.startswith((*INSTALLED, OURS)):
            near = os.path.relpath(frame.filename)
            return f" ({frame.filename if near.startswith('..') else near}:{frame.lineno})"
    return ""
