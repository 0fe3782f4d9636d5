"""Named arrays as bytes and back: a NumPy archive without pickles, so that bytes that were tampered with can at worst be refused.

Called by trust.py, and by runtime/routing for its learner. Pure; imports numpy and nothing of the project.
"""

from __future__ import annotations

import io
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_FOREIGN = (
    OSError,
    EOFError,
    KeyError,
    TypeError,
    SyntaxError,
    MemoryError,  # a damaged header may ask for any size
    RuntimeError,  # flags of the archive that mean encryption, or a way to compress that Python does not know
    struct.error,
    tokenize.TokenError,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading damaged bytes was seen to raise, besides ValueError."""


def packed(arrays: Mapping[str, Array]) -> bytes:
    """``arrays`` by name, compressed."""
    target = io.BytesIO()
    np.savez_compressed(target, allow_pickle=False, **arrays)
    return target.getvalue()


def unpacked(data: bytes) -> dict[str, Array]:
    """What ``packed`` was given. Raises ValueError for bytes that are damaged, or are something else."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except _FOREIGN as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
