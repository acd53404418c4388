"""What the functions weigh: the layer's size, and a cold start against one that only makes the same clients."""

from __future__ import annotations

import csv
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Figure
from mlplatform.datasets import plan_dataset
from mlplatform.facts import Drop, Sample, StoredObject

ROOT = Path(__file__).parents[1]
RUNS = 9
# A cold start as Lambda knows it: import the handler's module, then make what its first call needs.
CLIENTS = ("s3", "sagemaker", "sns")
COLD_START = "import {function}; from mlplatform.app import live_app; [live_app().aws._client(s) for s in {clients}]"
CLIENTS_ONLY = f"import boto3; [boto3.client(name) for name in {CLIENTS}]"


def measure() -> list[Figure]:
    """Medians of alternating whole processes, so that a drifting machine hits all alike."""
    functions = sorted(file.stem for file in (ROOT / "functions").glob("*.py"))
    seconds: dict[str, list[float]] = {name: [] for name in (CLIENTS_ONLY, *functions)}
    for _ in range(RUNS):
        seconds[CLIENTS_ONLY].append(_seconds(CLIENTS_ONLY))
        for name in functions:
            seconds[name].append(_seconds(COLD_START.format(function=name, clients=CLIENTS)))
    clients_only = seconds.pop(CLIENTS_ONLY)
    ratios = {
        name: statistics.median(a / b for a, b in zip(ours, clients_only, strict=True))
        for name, ours in seconds.items()
    }
    return [
        Figure("layer, unzipped", _layer_bytes() / 1e6, "MB", "<= 8", "arm64, as `sam build` makes it"),
        Figure("the same clients by boto3 alone", statistics.median(clients_only), "s"),
        *(
            Figure(f"cold start of {name.replace('_', '-')}", ratio, "", "<= 1.3", "times those clients")
            for name, ratio in ratios.items()
        ),
        *_judging(),
    ]


def _environment() -> dict[str, str]:
    """What the template gives every function, as the tests know it, and the runtime's own."""
    sys.path.insert(0, str(ROOT / "tests"))
    import builders

    runtime = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "POWERTOOLS_TRACE_DISABLED": "true"}
    return {**builders.ENVIRONMENT, **runtime, "AWS_DEFAULT_REGION": "us-east-1"}


def _seconds(code: str) -> float:
    """Of a processor: a start waits for nothing else, and what else the machine does is none of it."""
    path = os.pathsep.join(str(ROOT / folder) for folder in ("functions", "layers/platform"))
    before = os.times()
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **_environment(), "PYTHONPATH": path}, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _layer_bytes() -> int:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["make", "--silent", "-C", ROOT / "layers/platform", "build-PlatformLayer", f"ARTIFACTS_DIR={folder}"],
            check=True,
        )
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def _judging() -> list[Figure]:
    """An 8 MiB sample of a large drop, judged by start-training, beside merely reading it with the csv module."""
    row = ",".join(f"0.{digit}12345" for digit in range(10))
    content = ("a,b,c,d,e,f,g,h,i,j,y\n" + "".join(f"{row},{i % 2}\n" for i in range(100_000))).encode()
    stored = StoredObject("datasets/wide/wide.csv", "e", 10 * len(content), datetime.now(UTC))
    drop = Drop("wide", "0" * 12, (stored,), (Sample(stored.key, content, complete=False),), None)
    judged = min(_cpu_seconds(lambda: plan_dataset(drop, 32)) for _ in range(3))
    read = min(_cpu_seconds(lambda: list(csv.reader(io.StringIO(content.decode(), newline="")))) for _ in range(3))
    return [Figure("judging an 8 MiB sample", judged, "s", note=f"{judged / read:.1f} times reading it")]


def _cpu_seconds(what: Callable[[], object]) -> float:
    started = time.process_time()
    what()
    return time.process_time() - started
