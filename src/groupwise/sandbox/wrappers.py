"""How the fork server is started: inside bubblewrap, or as it is."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
_START = (
    "import sys; sys.path.insert(0, {here!r}); from inside.server import main; "
    "del sys.path[0]; main({fd}, {strict})"
)


@dataclass(frozen=True, slots=True)
class Backend:
    """A way to start a fork server, and what its children need not be refused by themselves."""

    name: str
    prefix: tuple[str, ...] = ()
    strict: bool = True
    allows: frozenset[str] = frozenset()
    """Attempts of the trial (`inside/server.py`) that may succeed: the wrapper has made them harmless."""

    def command(self, fd: int) -> list[str]:
        start = _START.format(here=str(HERE), fd=fd, strict=self.strict)
        # No site-packages, no user's folder, no bytecode written, UTF-8 whatever the locale.
        return [*self.prefix, _interpreter(), "-S", "-s", "-P", "-B", "-X", "utf8", "-c", start]


def bare() -> Backend:
    """Resource limits, Landlock and seccomp alone."""
    return Backend("fork server")


def unsafe() -> Backend:
    """Resource limits alone: for code that would be trusted anyway."""
    return Backend("resource limits only", strict=False)


def bubblewrapped() -> list[Backend]:
    """The same inside bubblewrap, if it is installed: namespaces of its own, an empty read-only root."""
    program = shutil.which("bwrap")
    if program is None:
        return []
    apart = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    # Root may drop to nobody inside; without a user namespace, which not every container allows.
    as_root = ["--cap-drop", "ALL", *_caps("SETUID", "SETGID", "KILL")]
    ways = [as_root] if os.geteuid() == 0 else []
    ways.append(["--unshare-user", "--cap-drop", "ALL"])
    mounts = ["--die-with-parent", "--new-session", *_mounts(), "--remount-ro", "/", "--chdir", "/"]
    prefixes = [(program, *apart, *way, *mounts, "--") for way in ways]
    return [Backend("bubblewrap", prefix, allows=frozenset({"files"})) for prefix in prefixes]


def _caps(*names: str) -> list[str]:
    return [word for name in names for word in ("--cap-add", f"CAP_{name}")]


def _mounts() -> list[str]:
    """Python, its libraries and our own few files; no /proc, no /dev, no /tmp, no /etc."""
    folders = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", *_library()]
    needed = [*folders, _interpreter(), str(HERE / "inside")]
    parents = {str(parent) for path in needed for parent in Path(path).parents} - {"/", "/usr"}
    # Made beforehand: bubblewrap would close those of a private folder, such as /root, to nobody.
    words = [word for parent in sorted(parents) for word in ("--dir", parent)]
    for path in dict.fromkeys(needed):
        if os.path.islink(path) and path in ("/lib", "/lib64"):
            words += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path):
            words += ["--ro-bind", path, path]
    return words


def _interpreter() -> str:
    """The real one: a virtual environment's is a link, and its folder is none of an answer's business."""
    return os.path.realpath(sys.executable)


def _library() -> Sequence[str]:
    """The standard library; and libpython, where Python was built with a shared one."""
    paths = sysconfig.get_paths()
    folder, name = sysconfig.get_config_var("LIBDIR"), str(sysconfig.get_config_var("INSTSONAME"))
    shared = [os.path.join(str(folder), name)] if ".so" in name else []
    return [paths["stdlib"], paths["platstdlib"], *shared]
