"""What makes a small model quick on a processor: torch loaded with patient threads, and linear layers whose weights are laid out
once as the processor wants them, instead of at every call.

Called by embedding.py when its model is loaded. Imports torch, and that only when it is called: it takes seconds.

oneDNN multiplies blocks; a weight matrix as torch keeps it is brought into blocks each time. For one short text that is a third
of all the time a small model takes. The two operations are those that torch's own compiler emits for linear layers; where this
processor or this torch has them not, or they do not give what the layer gives, the layer stays as it is.
"""

from __future__ import annotations

import importlib
import os
import sys
from functools import lru_cache
from typing import Any, Final

_PROBED_ROWS: Final = 4
_MOST_APART: Final = 0.02
"""Of the largest value: bfloat16 has eight bits, and sums are rounded in another order."""


_WAITING: Final = "OMP_WAIT_POLICY"
_PATIENT: Final = "PASSIVE"


@lru_cache(maxsize=1)
def load_torch() -> int:
    """Import torch so that its threads sleep while they wait for each other; returns how many of them a large batch may use.

    How they wait is read from the environment when torch's library is loaded: it is set for that moment alone, and cannot be had
    where somebody else has loaded torch before.
    """
    loaded, chosen = "torch" in sys.modules, os.environ.get(_WAITING)
    if chosen is None:
        os.environ[_WAITING] = _PATIENT
    try:
        importlib.import_module("torch")
    finally:
        if chosen is None:
            os.environ.pop(_WAITING, None)
    return batch_threads(loaded=loaded, chosen=chosen, cores=os.cpu_count() or 1)


def batch_threads(*, loaded: bool, chosen: str | None, cores: int) -> int:
    """How many threads a large batch may use: two where they certainly sleep while they wait for each other.

    Where two cores are free a batch takes half as long on two threads, and where they are not, as long as on one. Threads that
    spin take four times as long there. ``loaded``: torch had been loaded before; ``chosen``: how a user wants threads to wait.
    """
    return min(2, cores) if not loaded and (chosen or _PATIENT).upper() == _PATIENT else 1


def pack_linears(model: Any) -> int:
    """Replace the linear layers of ``model``, a torch module that is only used for inference from now on; returns how many."""
    import torch

    if not hasattr(torch.ops.mkldnn, "_reorder_linear_weight") or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return 0

    class Packed(torch.nn.Module):
        def __init__(self, layer: torch.nn.Linear) -> None:
            super().__init__()
            self._weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
            self._bias = None if layer.bias is None else layer.bias.detach()

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, "none", [], "")
            return found

    def packed(layer: torch.nn.Linear) -> torch.nn.Module:
        try:
            probe = torch.linspace(-1.0, 1.0, _PROBED_ROWS * layer.in_features).reshape(_PROBED_ROWS, -1).to(layer.weight.dtype)
            new, expected = Packed(layer), layer(probe).float()
            apart = float((new(probe).float() - expected).abs().max())
        except (RuntimeError, TypeError, NotImplementedError):
            return layer
        return new if apart <= _MOST_APART * float(expected.abs().max()) else layer

    count = 0
    with torch.inference_mode():
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is torch.nn.Linear:
                    setattr(parent, name, new := packed(child))
                    count += new is not child
    return count
