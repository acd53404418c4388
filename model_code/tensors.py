"""Named arrays in a file, in the safetensors format: data alone, nothing that could be executed.

The format (https://github.com/huggingface/safetensors#format) is read and written here, not by its library, so that
serving and the pipelines' steps need nothing that a container lacks: an instance that is added under load must not wait
for a package index.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = {"F32": "<f4", "I32": "<i4"}  # what models here are made of


def read(path: Path) -> dict[str, NDArray[Any]]:
    """A header's length in 8 bytes, the header in JSON, the numbers. Raises ValueError for another type of number."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    arrays = {}
    for name, tensor in json.loads(raw[8:start]).items():
        if name == "__metadata__":
            continue
        if tensor["dtype"] not in KINDS:
            raise ValueError(f"the array {name} is of {tensor['dtype']}, not of {' or '.join(KINDS)}")
        begin, end = tensor["data_offsets"]
        arrays[name] = np.frombuffer(raw[start + begin : start + end], dtype=KINDS[tensor["dtype"]]).reshape(
            tensor["shape"]
        )
    return arrays


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Whole numbers as 32-bit integers, all others in single precision."""
    header: dict[str, Any] = {}
    chunks = []
    end = 0
    for name, array in arrays.items():
        kind = "I32" if np.issubdtype(array.dtype, np.integer) else "F32"
        chunks.append(np.ascontiguousarray(array, dtype=KINDS[kind]).tobytes())
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [end, end + len(chunks[-1])]}
        end += len(chunks[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers are aligned
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(chunks))
