"""What the functions weigh: the layer's size, and a cold start against one that only makes the same clients."""

from __future__ import annotations

import csv
import io
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import distribution
from pathlib import Path

from bench.figures import Figure
from mlplatform.datasets import plan_dataset
from mlplatform.facts import Drop, Sample, StoredObject

ROOT = Path(__file__).parents[1]
LAYER = ROOT / "layers/platform"
RUNS = 7
# A cold start as Lambda knows it: import the handler's module, then make what its first call needs. Then the process is
# gone at once, since a function does not tidy up.
CLIENTS = ("s3", "sagemaker", "sns")
COLD_START = "import {function}; from mlplatform.app import live_app; [live_app().aws._client(s) for s in {clients}]"
CLIENTS_ONLY = f"import boto3; [boto3.client(name) for name in {CLIENTS}]"
GONE = "; import os; os._exit(0)"


def measure() -> list[Figure]:
    """Of alternating whole processes the least, since whatever else the machine does only adds."""
    functions = sorted(file.stem for file in (ROOT / "functions").glob("*.py"))
    with tempfile.TemporaryDirectory() as built, tempfile.TemporaryDirectory() as sources:
        for folder in (built, sources):
            _unpack(Path(folder))
        subprocess.run([sys.executable, "-m", "compileall", "-qq", f"{built}/layer"], check=True)
        starts = [(name, folder) for name in functions for folder in (built, sources)]
        clients_only, least = math.inf, dict.fromkeys(starts, math.inf)
        for _ in range(RUNS):
            clients_only = min(clients_only, _seconds(CLIENTS_ONLY))
            for name, folder in starts:
                code = COLD_START.format(function=name, clients=CLIENTS)
                least[name, folder] = min(least[name, folder], _seconds(code, folder))
        ratios = {start: seconds / clients_only for start, seconds in least.items()}
        return [
            Figure("layer, unzipped", _layer_bytes() / 1e6, "MB", "<= 8", "arm64, by `sam build`, with bytecode"),
            Figure("the same clients by boto3 alone", clients_only, "s"),
            *(
                Figure(
                    f"cold start of {name.replace('_', '-')}",
                    ratios[name, built],
                    "",
                    "<= 1.3",
                    f"times those clients; {ratios[name, sources]:.2f} without bytecode",
                )
                for name in functions
            ),
            *_judging(),
        ]


def _unpack(folder: Path) -> None:
    """The functions, and the layer's Python, without bytecode."""
    sources = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "functions", folder / "functions", ignore=sources)
    shutil.copytree(LAYER / "mlplatform", folder / "layer/mlplatform", ignore=sources)
    for line in (LAYER / "requirements.txt").read_text().splitlines():
        for file in distribution(line.partition("==")[0]).files or [] if "==" in line else []:
            if file.suffix == ".py":
                target = folder / "layer" / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), target)


def _environment() -> dict[str, str]:
    """What the template gives every function, as the tests know it, and the runtime's own."""
    sys.path.insert(0, str(ROOT / "tests"))
    import builders

    runtime = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "POWERTOOLS_TRACE_DISABLED": "true"}
    # Lambda's file systems are read-only, so that what is compiled at a start is not kept.
    return {**builders.ENVIRONMENT, **runtime, "AWS_DEFAULT_REGION": "us-east-1", "PYTHONDONTWRITEBYTECODE": "1"}


def _seconds(code: str, folder: str = "") -> float:
    """Of a processor: a start waits for nothing else, and what else the machine does is none of it."""
    paths = os.pathsep.join(f"{folder}/{part}" for part in ("functions", "layer") if folder)
    environment = {**os.environ, **_environment(), "PYTHONPATH": paths}
    before = _children_seconds()
    subprocess.run([sys.executable, "-c", code + GONE], env=environment, check=True)
    return _children_seconds() - before


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _layer_bytes() -> int:
    """With the bytecode of this Python, where there is not that of the functions': it is about as large."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                *("make", "--silent", "-C", LAYER, "build-PlatformLayer"),
                *(f"ARTIFACTS_DIR={folder}", f"LAMBDA_PYTHON={sys.executable}"),
            ],
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
