"""A recorder for a CPU: what a CUDA graph does, operation by operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Replays:
    """Logs the operations of one run of a step, with the very tensors, and repeats them into the same memory.

    The Python of the step runs once. Numbers, shapes, views and whatever else it computed stay as they were
    then, as they do in a CUDA graph: a step that depends on them gives wrong answers here, too.
    """

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, step: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1
        with _Log() as log:
            step()

        def replay() -> None:
            self.replayed += 1
            for func, args, kwargs, results in log.operations:
                again = _tensors(func(*args, **kwargs))
                for old, new in zip(results, again, strict=True):
                    if old is not None:
                        old.copy_(new)

        return replay


class _Log(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, list[Tensor | None]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        memory = {_memory(x) for x in _tensors((args, kwargs))}
        out = func(*args, **kwargs)
        # a view, or what was written in place, follows by itself
        results = [None if _memory(x) in memory else x for x in _tensors(out)]
        self.operations.append((func, args, kwargs, results))
        return out


def _memory(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]
