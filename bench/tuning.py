"""How long a tuning of the reference dataset takes on the laptop, and what it finds, beside a random search of twice as
many trials: the same ranges, the same early stopping, the same real training jobs, two at a time."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.figures import Figure
from cli import demo, drop, reference_dataset
from cli.connection import Connection
from mlplatform import names

TRIALS = 20
LONGEST_SECONDS = 900


def measure() -> list[Figure]:
    """One laptop; the random search after the other, so that neither takes the other's processors."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), demo.laptop() as url:
        connection = Connection(demo.STACK, url, None)
        reference_dataset.write(Path(folder))
        ours = tuned(connection, Path(folder), "tuned", {"max_jobs": TRIALS})
        theirs = tuned(
            connection, Path(folder), "random", {"max_jobs": 2 * TRIALS, "strategy": "random", "max_cost_usd": 10}
        )
    best, random = value(ours), value(theirs)
    counted = ours["TrainingJobStatusCounters"]
    return [
        Figure(
            f"tuning of {TRIALS} trials", seconds(ours), "s", "<= 180", f"{counted['Stopped']} of them stopped early"
        ),
        Figure("best validation loss", best, ""),
        Figure(f"random search of {2 * TRIALS} trials", seconds(theirs), "s"),
        Figure("its best validation loss", random, ""),
        Figure("ours in its terms", best / random, "", "<= 1", "half as many trials"),
    ]


def tuned(connection: Connection, folder: Path, dataset: str, wishes: dict[str, Any]) -> dict[str, Any]:
    """Drops the files of a folder with these wishes; the tuning job once it has ended."""
    (folder / names.JOB_SPEC_FILE).write_text(json.dumps({"tuning": wishes}))
    version = drop.upload(connection, drop.files_of([folder]), dataset, demo.console)
    verdict: dict[str, Any] = {}
    until = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < until:
        if not verdict:
            with contextlib.suppress(connection.s3.exceptions.NoSuchKey):
                stored = connection.s3.get_object(
                    Bucket=connection.data_bucket, Key=names.verdict_key(dataset, version)
                )
                verdict = json.loads(stored["Body"].read())
        else:
            job: dict[str, Any] = connection.sagemaker.describe_hyper_parameter_tuning_job(
                HyperParameterTuningJobName=verdict["job_name"]
            )
            if job["HyperParameterTuningJobStatus"] in ("Completed", "Failed", "Stopped"):
                return job
        time.sleep(0.2)
    raise RuntimeError(f"the tuning of {dataset} had not ended after {LONGEST_SECONDS} s")


def seconds(job: dict[str, Any]) -> float:
    return float((job["HyperParameterTuningEndTime"] - job["CreationTime"]).total_seconds())


def value(job: dict[str, Any]) -> float:
    return float(job["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"])
