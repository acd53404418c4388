"""One laptop for all end-to-end tests: the same process that `make up` runs, on a free port."""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import typer.testing

from cli.connection import Connection
from cli.drop import stored_version
from cli.main import app
from mlplatform import names

from .customers import customers

ROOT = Path(__file__).parents[2]
STACK = "ml-platform"
TUESDAY = 2
Value = TypeVar("Value")
Mlp = Callable[..., str]


@dataclass
class Laptop:
    """A running laptop with the stack deployed, seen through the AWS API as any client sees it."""

    url: str
    process: subprocess.Popen[bytes]

    def __post_init__(self) -> None:
        self.connection = Connection(STACK, self.url, None)
        self.s3 = self.connection.s3
        self.sagemaker = self.connection.sagemaker

    def client(self, service: str) -> Any:
        return self.connection.client(service)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def put(self, dataset: str, file_name: str, content: bytes | str) -> None:
        body = content.encode() if isinstance(content, str) else content
        key = f"{names.DATASETS_PREFIX}{dataset}/{file_name}"
        self.s3.put_object(Bucket=self.connection.data_bucket, Key=key, Body=body)

    def verdict(self, dataset: str, seconds: float = 60) -> dict[str, Any]:
        """The verdict on what lies under `datasets/<dataset>/` now."""
        key = names.verdict_key(dataset, stored_version(self.connection, dataset))

        def read() -> dict[str, Any] | None:
            found = self.s3.list_objects_v2(Bucket=self.connection.data_bucket, Prefix=key)
            if not found.get("KeyCount"):
                return None
            stored = self.s3.get_object(Bucket=self.connection.data_bucket, Key=key)["Body"].read()
            verdict: dict[str, Any] = json.loads(stored)
            return verdict

        return eventually(read, seconds, f"no verdict on {dataset}")

    def job_end(self, job_name: str, seconds: float = 60) -> dict[str, Any]:
        def read() -> dict[str, Any] | None:
            job: dict[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=job_name)
            return job if job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None

        return eventually(read, seconds, f"{job_name} did not end")

    def endpoint_serving(self, dataset: str, config: str, seconds: float = 60) -> dict[str, Any]:
        name = names.endpoint(STACK, dataset)

        def read() -> dict[str, Any] | None:
            try:
                endpoint: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=name)
            except self.sagemaker.exceptions.ClientError:
                return None
            serving = endpoint["EndpointStatus"] == "InService" and endpoint["EndpointConfigName"] == config
            return endpoint if serving else None

        return eventually(read, seconds, f"{name} does not serve {config}")

    def scaling_policies(self, dataset: str, seconds: float = 60) -> list[dict[str, Any]]:
        resource = f"endpoint/{names.endpoint(STACK, dataset)}/variant/AllTraffic"

        def read() -> list[dict[str, Any]] | None:
            policies: list[dict[str, Any]] = self.connection.autoscaling.describe_scaling_policies(
                ServiceNamespace="sagemaker", ResourceId=resource
            )["ScalingPolicies"]
            return policies if len(policies) == 2 else None

        return eventually(read, seconds, f"{resource} has no two scaling policies")

    def function_entry(self, function: str, text: str, seconds: float = 60) -> dict[str, Any]:
        """The newest call of a function in the event log whose record holds `text`."""

        def read() -> dict[str, Any] | None:
            entries = [
                entry
                for entry in self.get("/_laptop/events")
                if entry["kind"] == "function" and entry["function"].endswith(function) and text in json.dumps(entry)
            ]
            return entries[-1] if entries else None

        return eventually(read, seconds, f"{function} never said {text!r}")

    def inbox(self, text: str, seconds: float = 60) -> list[dict[str, Any]]:
        """The messages that hold `text`, once there is one."""

        def read() -> list[dict[str, Any]] | None:
            return [message for message in self.get("/_laptop/inbox") if text in json.dumps(message)] or None

        return eventually(read, seconds, f"no message holds {text!r}")


def eventually(read: Callable[[], Value | None], seconds: float, otherwise: str) -> Value:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = read()
        if value is not None:
            return value
        time.sleep(0.1)
    raise AssertionError(f"{otherwise} within {seconds:g} s")


def working_day(after: datetime) -> datetime:
    """A Tuesday's 10:01 UTC in the middle of a month: endpoints are open, and stay so for as long as tests take."""
    moment = after.replace(hour=10, minute=1, second=0, microsecond=0)
    while moment <= after or moment.isoweekday() != TUESDAY or not 8 <= moment.day <= 21:
        moment += timedelta(days=1)
    return moment


def start_laptop() -> Laptop:
    """Its clock begins on a working day, so that nothing depends on the day and the hour at which the tests run."""
    at = working_day(datetime.now(UTC)).isoformat()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "laptop", "--port", str(port), "--at", at],
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )
    laptop = Laptop(f"http://127.0.0.1:{port}", process)

    def ready() -> bool | None:
        assert process.poll() is None, "the laptop ended before it was ready"
        try:
            return laptop.get("/_laptop/health")["status"] == "ready" or None
        except OSError:
            return None

    try:
        eventually(ready, 120, "the laptop was not ready")
    except BaseException:
        process.kill()
        raise
    return laptop


def stop_laptop(laptop: Laptop) -> int:
    laptop.process.send_signal(signal.SIGINT)
    return laptop.process.wait(60)


@pytest.fixture(scope="session", autouse=True)
def clients_and_commands_are_made_once() -> None:
    """To make a client takes longer than most calls with it; each `mlp` in these tests would make all of its own. The
    same holds of the tree of commands."""
    make = Connection.client

    @functools.cache
    def made(url: str, region: str | None, service: str, options: str) -> Any:
        return make(Connection(STACK, url, region), service, **json.loads(options))

    def client(self: Connection, service: str, **options: Any) -> Any:
        if self.endpoint_url is None:
            return make(self, service, **options)
        return made(self.endpoint_url, self.region, service, json.dumps(options, sort_keys=True))

    Connection.client = client  # type: ignore[method-assign]
    typer.testing._get_command = functools.cache(typer.testing._get_command)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def laptop() -> Iterator[Laptop]:
    running = start_laptop()
    try:
        yield running
    finally:
        stop_laptop(running)


@pytest.fixture
def mlp(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> Mlp:
    """`mlp("status", "churn")` is what the command prints; with `fails=True` what it says when it ends badly."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", laptop.url)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str, fails: bool = False) -> str:
        result = typer.testing.CliRunner().invoke(app, list(arguments))
        assert (result.exit_code != 0) == fails, f"{result.output}{result.exception or ''}"
        return f"{result.output}{result.exception or ''}"

    return run


@pytest.fixture(scope="session")
def deployed(laptop: Laptop) -> str:
    """The dataset `churn`, dropped under an awkward file name and deployed; the name of its training job."""
    laptop.put(
        "churn", names.JOB_SPEC_FILE, json.dumps({"label": "stays", "hyperparameters": {"network": "mlp", "epochs": 8}})
    )
    laptop.put("churn", "März 50%+1 customers.csv", customers())
    verdict = laptop.verdict("churn")
    assert verdict["verdict"] == "accepted", verdict
    laptop.endpoint_serving("churn", verdict["job_name"])
    laptop.scaling_policies("churn")
    job_name: str = verdict["job_name"]
    return job_name
