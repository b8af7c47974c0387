"""Recordings of work on a device, to be repeated without Python: CUDA graphs.

A recorder is a value handed to the decoder. On a CPU there is none, for Python costs little there beside the
work; a test hands in one that repeats the recorded operations on a CPU, which is how the path of a GPU is
proved without one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Step = Callable[[], None]
"""Work that reads and writes tensors that stay in their places, and nothing else."""


class Unrecordable(RuntimeError):  # noqa: N818
    """The step depends on a value that only the device knows, or moves data between devices."""


class Recorder(Protocol):
    """Turns a step into something that repeats its operations on the same tensors."""

    def __call__(self, step: Step) -> Step:
        """Runs the step at most once; what it wrote is the caller's to undo.

        Raises:
            Unrecordable: the step cannot be recorded, and is to be called itself.
        """


class CudaGraphs:
    """Captures CUDA graphs, all from one pool of memory.

    A recorded step leaves nothing in the pool that is read after it, so recordings may be replayed in any
    order, though never two at once.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()
        self._pool: Any = torch.cuda.graph_pool_handle()

    def __call__(self, step: Step) -> Step:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            step()  # libraries allocate at their first call on a stream, which a capture does not allow
        torch.cuda.current_stream().wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                step()
        except RuntimeError as error:
            raise Unrecordable(str(error)) from error
        replay: Step = graph.replay
        return replay


RECORDERS: dict[str, Callable[[], Recorder]] = {"cuda": CudaGraphs}
"""By the type of the device."""


def watched(step: Step) -> None:
    """Run a step that is to be recorded.

    Raises:
        Unrecordable: naming the first operation that a recording could not repeat.
    """
    with _Watch():
        step()


class _Watch(TorchDispatchMode):
    """Stops at an operation that a GPU would be waited for.

    It is looked for before a capture, for one that fails leaves CUDA in a doubtful state.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = _tensors((args, kwargs))
        if _depends_on_values(func, args):
            raise Unrecordable(f"{func} waits for a value")
        out = func(*args, **(kwargs or {}))
        # a lone number of the host's travels as a kernel's argument and not as a copy
        devices = {x.device.type for x in [*inputs, *_tensors(out)] if x.ndim}
        if len(devices) > 1:
            raise Unrecordable(f"{func} copies between {' and '.join(sorted(devices))}")
        return out


def _depends_on_values(func: Any, args: Any) -> bool:
    if func._schema.name in ("aten::index", "aten::index_put", "aten::index_put_"):
        # tagged in any case; only a mask is looked into
        return any(x.dtype in (torch.bool, torch.uint8) for x in args[1] if x is not None)
    tags = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
    return not tags.isdisjoint(func.tags)


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]
