"""Imports go one way, and `import groupwise` stays light."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import groupwise

LEVELS = (
    ("trajectory", "randomness", "roles", "precision", "allocator", "user_code", "hardware", "sandbox"),
    ("advantages", "losses", "mixtures", "distributions"),
    ("recipes",),
    ("policies", "vision", "engine", "models", "reward_models"),
    ("rewards", "tasks", "envs", "groups", "seats", "gauge", "rollouts"),
    ("packing", "learner", "mixed"),
    ("checkpoints", "metrics"),
    ("rescue", "sources"),
    ("trainer", "preferences"),
    (
        "report",
        "budgets",
        "settings",
        "seating",
        "conversing",
        "journal",
        "planning",
        "config",
        "runs",
        "chat",
        "world_commands",
        "worlds",
        "opponents",
        "market_commands",
        "tables",
        "reward_commands",
        "terminal",
        "train_commands",
        "model_commands",
        "commands",
        "cli",
        "distributed",
        "tune",
        "__main__",
    ),
)
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
HEAVY = ("transformers", "ray", "gymnasium", "wandb", "peft", "tyro", "pyarrow", "torch", "numpy")


def imported(path: Path, root: Path) -> Iterator[str]:
    """The modules right below the package that a file imports; "" for the package itself."""
    here = ("groupwise", *path.relative_to(root).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            names = [f"{module}.{a.name}" if module == "groupwise" else module for a in node.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "groupwise" and rest != "__version__":
                yield rest.partition(".")[0]


def complaints(root: Path) -> list[str]:
    """A sentence for every import that goes up, and for every module without a level."""
    found, graph = [], dict[str, set[str]]()
    for path in sorted(root.rglob("*.py")):
        file = path.relative_to(root)
        if file == Path("__init__.py"):
            continue
        source = file.parts[0].removesuffix(".py")
        if source not in LEVEL:
            found.append(f"{file} has no level: add {source!r} to LEVELS.")
            continue
        for target in imported(path, root):
            if target not in LEVEL:
                found.append(f"{file} imports {target or 'the package root'!r}, which has no level.")
                continue
            is_folder = (root / target).is_dir()
            other = f"{target}/" if is_folder else f"{target}.py"
            if LEVEL[target] > LEVEL[source]:
                found.append(f"{file} imports {other}, which is above it: imports go one way.")
            elif target != source:
                graph.setdefault(source, set()).add(target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found.append(f"{' imports '.join(reversed(error.args[1]))}: a circle.")
    return found


def test_imports_go_one_way() -> None:
    root = Path(groupwise.__file__).parent
    assert len(list(root.rglob("*.py"))) > 5
    assert complaints(root) == []


@pytest.mark.parametrize(
    ("path", "line", "sentence"),
    [
        ("losses.py", "from groupwise.recipes import GRPO", "losses.py imports recipes.py, which is above"),
        ("losses.py", "from groupwise import recipes", "losses.py imports recipes.py, which is above"),
        ("losses.py", "import groupwise.recipes as r", "losses.py imports recipes.py, which is above"),
        ("losses.py", "from . import recipes", "losses.py imports recipes.py, which is above"),
        ("losses.py", "from .recipes import GRPO", "losses.py imports recipes.py, which is above"),
        ("engine/a.py", "from ..trainer import train", "engine/a.py imports trainer.py, which is above"),
        ("recipes.py", "from groupwise.engine.a import b", "recipes.py imports engine/, which is above"),
        ("losses.py", "def f():\n    import groupwise.cli", "losses.py imports cli.py, which is above"),
        ("losses.py", "from groupwise import GRPO", "losses.py imports 'GRPO', which has no level"),
        ("losses.py", "import groupwise", "losses.py imports 'the package root', which has no level"),
        ("novel.py", "", "novel.py has no level"),
    ],
)
def test_the_checker_names_both_files(tmp_path: Path, path: str, line: str, sentence: str) -> None:
    """The checker itself: an upward import in any spelling is found."""
    (tmp_path / "engine").mkdir()
    (tmp_path / path).write_text(line)
    (got,) = complaints(tmp_path)
    assert got.startswith(sentence)


def test_the_checker_allows_downward_and_sideways_imports_but_no_circle(tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "__init__.py").write_text("from groupwise.cli import main")
    (tmp_path / "rollouts.py").write_text(
        "from groupwise.envs.text import Env\nfrom groupwise import recipes"
    )
    (tmp_path / "envs" / "text.py").write_text("from . import games\nfrom groupwise.trajectory import Turn")
    (tmp_path / "cli.py").write_text("import torch\nfrom groupwise import __version__")
    assert complaints(tmp_path) == []
    (tmp_path / "envs" / "games.py").write_text("import groupwise.rollouts")
    (got,) = complaints(tmp_path)
    assert got.endswith("a circle.")


@pytest.mark.parametrize("module", ["groupwise", "groupwise.cli"])
def test_help_does_not_wait_for_torch(module: str) -> None:
    """A fresh interpreter: this one has imported half of them already."""
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({HEAVY})))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
