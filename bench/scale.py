"""How fast and in how much memory large tables are read and learnt: 20 columns of numbers and a label, as CSV.

Beside pyarrow's own reader, which ends with its table, and beside the usual way from there to a tensor. Every
measurement is a process of its own; memory is the most that it held at any moment, beyond what its imports took, over
the bytes of the tensors that come out: the features in single precision and the label. An epoch is one of the
reference network, judging included. Ten million rows take 2 GB of disk and some minutes more: LARGE=1 make bench.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from bench.figures import Figure

ROOT = Path(__file__).parents[1]
COLUMNS = 20
SIZES = (10_000, 1_000_000)
LARGE = 10_000_000
BATCH_ROWS = 250_000  # of the table, written at a time


def measure() -> list[Figure]:
    figures = []
    for rows in (*SIZES, *((LARGE,) if os.environ.get("LARGE") else ())):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "data.csv"
            _write(path, rows)
            figures += _reading(path, rows)
            figures += _epochs(path, rows)
    return figures


def _write(path: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    names = ["label", *(f"number_{place}" for place in range(COLUMNS))]
    schema = pa.schema([("label", pa.int64()), *((name, pa.float64()) for name in names[1:])])
    with pa_csv.CSVWriter(path, schema) as writer:
        for start in range(0, rows, BATCH_ROWS):
            numbers = rng.normal(size=(COLUMNS, min(BATCH_ROWS, rows - start))).round(6)
            label = (numbers[:5].sum(axis=0) + rng.normal(size=numbers.shape[1]) > 0).astype(np.int64)
            writer.write_table(pa.table([label, *numbers], schema=schema))


def _reading(path: Path, rows: int) -> list[Figure]:
    size = f"{rows:,} rows x {COLUMNS}"
    tensors = rows * (COLUMNS * 4 + 8)
    ours = _in_process("read", path)
    arrow = _in_process("read_with_pyarrow", path)
    goal = rows == SIZES[1]
    return [
        Figure(f"{size}: reading, with the splits", ours["seconds"], "s", note=f"{rows / ours['seconds']:,.0f} rows/s"),
        Figure(f"{size}: pyarrow's reader", arrow["seconds"], "s"),
        Figure(
            f"{size}: reading over pyarrow's reader", ours["seconds"] / arrow["seconds"], "x", "<= 1.5" if goal else ""
        ),
        Figure(f"{size}: to tensors on the device", ours["tensor_seconds"], "s", note="reading included"),
        Figure(f"{size}: pyarrow's table to one tensor", arrow["tensor_seconds"], "s", note="reading included"),
        Figure(
            f"{size}: most memory, reading, over the tensors'",
            ours["bytes"] / tensors,
            "x",
            "<= 2.5" if goal else "",
            f"{ours['bytes'] / 1e6:,.0f} MB; pyarrow's table {arrow['bytes'] / tensors:.1f} x",
        ),
        Figure(
            f"{size}: most memory, to tensors, over the tensors'",
            ours["tensor_bytes"] / tensors,
            "x",
            note=f"{ours['tensor_bytes'] / 1e6:,.0f} MB; pyarrow's way {arrow['tensor_bytes'] / tensors:.1f} x",
        ),
    ]


def _epochs(path: Path, rows: int) -> list[Figure]:
    size = f"{rows:,} rows x {COLUMNS}"
    one, two = _in_process("learn", path), _in_process("learn", path, processes=2)
    tensors = rows * (COLUMNS * 4 + 8)
    return [
        Figure(
            f"{size}: an epoch", one["seconds"], "s", note=f"{0.7 * rows / one['seconds']:,.0f} rows learnt a second"
        ),
        Figure(
            f"{size}: an epoch, two processes over one",
            two["seconds"] / one["seconds"],
            "x",
            note=f"on this machine's {os.cpu_count()} processors; validation loss {two['loss']:.6f}, alone "
            f"{one['loss']:.6f}",
        ),
        Figure(f"{size}: most memory, learning, over the tensors'", one["bytes"] / tensors, "x"),
    ]


def _in_process(what: str, path: Path, processes: int = 1) -> dict[str, float]:
    """What the first of the processes prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.scale", what, str(path)],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT / "model_code"),
                "RANK": str(rank),
                "WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)),
            },
            stdout=subprocess.PIPE,
        )
        for rank in range(processes)
    ]
    said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError(f"{what} failed")
    found: dict[str, float] = json.loads(said[0])
    return found


# ---- In a process of its own -----------------------------------------------------------------------------------------


def _most_bytes() -> int:
    """The most memory that this process has held."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def read(path: Path) -> dict[str, float]:
    """Ours."""
    import torch

    import dataset
    import preprocess

    before, started = _most_bytes(), time.perf_counter()
    data = dataset.load(path.parent, dataset.Layout(0, True, "comma", "utf-8", "binary"), seed=1)
    found = {"seconds": time.perf_counter() - started, "bytes": _most_bytes() - before}
    encoder = preprocess.Encoder(
        [preprocess.fit(name, column) for name, column in zip(data.names, data.train.columns, strict=True)]
    )
    kept = [torch.from_numpy(encoder.encode(rows.columns).numbers) for rows in (data.train, data.validation, data.test)]
    assert sum(map(len, kept)) == len(data.train) + len(data.validation) + len(data.test)
    return {
        **found,
        "tensor_seconds": time.perf_counter() - started,
        "tensor_bytes": _most_bytes() - before,
    }


def read_with_pyarrow(path: Path) -> dict[str, float]:
    """The reader alone, and one matrix of its columns, neither split nor scaled."""
    import torch

    before, started = _most_bytes(), time.perf_counter()
    table = pa_csv.read_csv(path)
    found = {"seconds": time.perf_counter() - started, "bytes": _most_bytes() - before}
    columns = [column.to_numpy().astype(np.float32) for column in table.columns]
    kept = torch.from_numpy(np.column_stack(columns))
    assert len(kept) == len(table)
    return {
        **found,
        "tensor_seconds": time.perf_counter() - started,
        "tensor_bytes": _most_bytes() - before,
    }


def learn(path: Path) -> dict[str, float]:
    """The second epoch of three: between the lines of two."""
    import torch

    import dataset
    import learning
    from distributed import Group, Place

    before = _most_bytes()
    data = dataset.load(path.parent, dataset.Layout(0, True, "comma", "utf-8", "binary"), seed=1)
    ended: list[float] = []
    losses: list[float] = []

    def log(line: str) -> None:
        if line.startswith("epoch="):
            ended.append(time.perf_counter())
            losses.append(float(line.partition("validation_loss=")[2].split()[0]))

    asked: dict[str, Any] = {"network": "mlp", "epochs": 3}
    with tempfile.TemporaryDirectory() as folder, Group(Place.from_environment()) as group:
        learning.learn(
            data,
            asked,
            torch.device("cpu"),
            checkpoints=Path(folder),
            fingerprint="bench",
            should_stop=lambda: False,
            log=log,
            group=group,
        )
    return {"seconds": ended[2] - ended[1], "loss": losses[-1], "bytes": _most_bytes() - before}


if __name__ == "__main__":
    chosen: dict[str, Callable[[Path], dict[str, float]]] = {
        "read": read,
        "read_with_pyarrow": read_with_pyarrow,
        "learn": learn,
    }
    print(json.dumps(chosen[sys.argv[1]](Path(sys.argv[2]))))
