"""How long people wait: until the laptop is ready, and from drop to an endpoint that answers."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from pathlib import Path

from bench.figures import Figure
from cli import demo, drop, reference_dataset
from cli.connection import Connection


def measure() -> list[Figure]:
    """One whole run of the laptop, as `make up` starts it, with the reference dataset dropped once, for its network.

    The default model takes longer: docs/default-model.md, "How long, and how much memory".
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), demo.laptop() as url:
        ready = time.perf_counter() - started
        connection = Connection(demo.STACK, url, None)
        files = [*reference_dataset.write(Path(folder)), reference_dataset.write_spec(Path(folder))]
        dropped = time.perf_counter()
        drop.upload(connection, files, demo.DATASET, demo.console)
        while not _in_service(connection):
            time.sleep(0.05)
            if time.perf_counter() - dropped > 120:
                raise RuntimeError("the endpoint was not in service within 120 s")
        in_service = time.perf_counter() - dropped
        jobs = connection.sagemaker.list_training_jobs()["TrainingJobSummaries"]
        job = connection.sagemaker.describe_training_job(TrainingJobName=jobs[0]["TrainingJobName"])
    trained = (job["TrainingEndTime"] - job["TrainingStartTime"]).total_seconds()
    return [
        Figure("`make up` to ready", ready, "s", "<= 6"),
        Figure(
            "drop to InService", in_service, "s", "<= 20", "settle time and training of the reference network included"
        ),
        Figure("of which the training job", trained, "s", note="download, toolkit, training, upload"),
    ]


def _in_service(connection: Connection) -> bool:
    endpoints = connection.sagemaker.list_endpoints()["Endpoints"]
    return any(endpoint["EndpointStatus"] == "InService" for endpoint in endpoints)
