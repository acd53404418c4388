"""The training state in one file: tensors as safetensors, everything else as JSON in its metadata. Nothing is pickled.

SageMaker keeps the folder in step with S3 in both directions while a job runs, and a job that starts again finds in it
what was there before (https://docs.aws.amazon.com/sagemaker/latest/dg/model-checkpoints.html). A file therefore appears
whole or not at all: it is written beside its place and renamed.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import tensors
from distributed import ALONE, Group

FORMAT = 1
FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """Named tensors, and facts that JSON can hold exactly."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint, fingerprint: str) -> None:
    """Replaces the folder's checkpoint in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{FILE}.draft"
    metadata = {"format": str(FORMAT), "fingerprint": fingerprint, "facts": json.dumps(checkpoint.facts)}
    arrays = {name: tensor.cpu().numpy() for name, tensor in checkpoint.tensors.items()}
    tensors.write(draft, arrays, metadata, exact=True)
    os.replace(draft, folder / FILE)


def load(folder: Path, fingerprint: str, group: Group = ALONE) -> Checkpoint | str | None:
    """The folder's checkpoint; None when there is none, or a sentence that says why it can't be used.

    In a group only the first process looks, and all get what it found: the folders of several machines need not agree.
    """
    path = folder / FILE
    if group.size == 1:
        return _read(path, fingerprint) if path.is_file() else None
    content = group.told_bytes(path.read_bytes() if group.place.first and path.is_file() else b"")
    if not content:
        return None
    with tempfile.TemporaryDirectory() as elsewhere:
        path = Path(elsewhere) / FILE
        path.write_bytes(content)
        return _read(path, fingerprint)


def _read(path: Path, fingerprint: str) -> Checkpoint | str:
    try:
        arrays, metadata = tensors.read_with_metadata(path)
        if metadata.get("format") != str(FORMAT):
            return f"The checkpoint has format {metadata.get('format')!r}, not {FORMAT}; starting afresh."
        if metadata.get("fingerprint") != fingerprint:
            return "The checkpoint is of other data or other hyperparameters; starting afresh."
        return Checkpoint(
            {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}, json.loads(metadata["facts"])
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"The checkpoint can't be read ({error}); starting afresh."
