"""Named arrays in a file, in the safetensors format: data alone, nothing that could be executed.

The format (https://github.com/huggingface/safetensors#format) is read and written here, not by its library, so that
nothing is needed that a container lacks: an instance that is added under load must not wait for a package index, and in
a network of its own there is none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "U8": "|u1", "BOOL": "|b1"}
_KIND_OF = {np.dtype(kind): name for name, kind in KINDS.items()}


def read(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays, which can't be written to. Raises ValueError for another type of number, or a damaged file."""
    return read_with_metadata(path)[0]


def read_with_metadata(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """A header's length in 8 bytes, the header in JSON, the numbers: the arrays, and what the header says beside them.

    Raises ValueError for another type of number, or a damaged file.
    """
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    metadata = header.pop("__metadata__", {})
    arrays = {}
    for name, tensor in header.items():
        if tensor["dtype"] not in KINDS:
            raise ValueError(f"the array {name} is of {tensor['dtype']}, not of {', '.join(KINDS)}")
        begin, end = tensor["data_offsets"]
        arrays[name] = np.frombuffer(raw[start + begin : start + end], dtype=KINDS[tensor["dtype"]]).reshape(
            tensor["shape"]
        )
    return arrays, metadata


def write(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str] | None = None,
    *,
    exact: bool = False,
) -> None:
    """Whole numbers as 32-bit integers, all others in single precision; or, exactly, each as it is.

    Raises KeyError for an array that exactly is of no kind in KINDS.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    chunks = []
    end = 0
    for name, array in arrays.items():
        kind = _KIND_OF[array.dtype] if exact else "I32" if np.issubdtype(array.dtype, np.integer) else "F32"
        chunks.append(np.ascontiguousarray(array, dtype=KINDS[kind]).tobytes())
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [end, end + len(chunks[-1])]}
        end += len(chunks[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers are aligned
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(chunks))
