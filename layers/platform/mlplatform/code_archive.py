"""Packs the model code into the archive that SageMaker's training and inference toolkits fetch and unpack."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mlplatform.errors import PlatformError
from mlplatform.records import dataclass

ENTRY_POINT = "train.py"
# What else may lie where the layers are unpacked: the platform layer, extensions, leftovers, how it is built.
_NOT_MODEL_CODE = {"python", "extensions", "__pycache__", "Makefile"}


@dataclass(frozen=True)
class ModelCode:
    """The archive, the files in it, and their fingerprint: 64 hexadecimal digits, the same for the same files."""

    archive: bytes
    files: Mapping[str, bytes]  # by path below the root
    digest: str


def layer_root(search_path: Iterable[str] | None = None) -> Path:
    """Where the model code layer is unpacked: the folder beside a `python/` of the search path that holds train.py.

    On Lambda all layers share /opt, and /opt/python is on Python's path:
    https://docs.aws.amazon.com/lambda/latest/dg/packaging-layers.html. Raises PlatformError when there is none.
    """
    roots = [Path(entry).parent for entry in search_path or sys.path if Path(entry).name == "python"]
    for root in roots:
        if (root / ENTRY_POINT).is_file():
            return root
    raise PlatformError(
        f"There is no {ENTRY_POINT} in {', '.join(str(root) for root in roots) or 'any layer'}: "
        "the model code layer is not attached to this function. Deploy the template unchanged."
    )


def pack(root: Path) -> ModelCode:
    """The files below `root` as a gzipped tar. Times, owners and order are fixed: equal files give equal bytes."""
    digest = hashlib.sha256()
    files: dict[str, bytes] = {}
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in _files(root):
            name, content = path.relative_to(root).as_posix(), path.read_bytes()
            files[name] = content
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
            entry = tarfile.TarInfo(name)  # uid, gid and mtime are 0 unless said
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return ModelCode(gzip.compress(plain.getvalue(), mtime=0), files, digest.hexdigest())


def _files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*"), key=lambda path: path.relative_to(root).as_posix()):
        parts = path.relative_to(root).parts
        if parts[0] in _NOT_MODEL_CODE or "__pycache__" in parts or any(part.startswith(".") for part in parts):
            continue
        if path.is_file():
            yield path
