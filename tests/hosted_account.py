"""An account of the laptop with hosting, and tiny models: what an endpoint does is told by how its process answers."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import boto3
from botocore.config import Config
from moto import mock_aws

from laptop import hosting
from laptop.account import REGION, Account
from laptop.clock import Clock
from laptop.hosting import Hosting
from laptop.journal import Journal
from laptop.server import running

IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6.0-cpu-py312-ubuntu22.04-sagemaker"
ROLE = "arn:aws:iam::123456789012:role/training"
ENDPOINT = "ml-platform-cancer"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)
HOSTING_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "sns:Publish"], "Resource": "*"}],
    }
)
INFERENCE = """
import json, os, sys, time
VERSION = {version!r}
def model_fn(model_dir):
    print("loading from", model_dir)
    return open(os.path.join(model_dir, "weights.txt")).read()
def answer(model, body, content_type, accept):
    if body == b"bad":
        return 400, b"row 1 has no columns", "text/plain"
    if body == b"crash":
        raise RuntimeError("the model broke")
    if body == b"die":
        os._exit(3)
    if body == b"slow":
        time.sleep(0.5)
    told = {{"model": model, "version": VERSION, "pid": os.getpid(), "accept": accept}}
    return 200, json.dumps(told).encode(), accept
"""


class Events:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def put(self, source: str, detail_type: str, detail: dict[str, Any], resources: tuple[str, ...] = ()) -> None:
        self.sent.append({"source": source, "detail-type": detail_type, "detail": detail, "resources": resources})


class LocalAccount(Account):
    """An account whose clients talk to moto in this process."""

    made: ClassVar[dict[str, Any]] = {}
    making: ClassVar[threading.Lock] = threading.Lock()

    def client(self, service: str, role_arn: str | None = None) -> Any:
        with self.making:
            if service not in self.made:
                keys = {"aws_access_key_id": "laptop", "aws_secret_access_key": "laptop"}
                config = Config(s3={"addressing_style": "path"})  # as the laptop's own clients have it
                self.made[service] = boto3.session.Session().client(service, region_name=REGION, config=config, **keys)
            return self.made[service]


def artifact(version: str, *, program: str | None = None, names: dict[str, bytes] | None = None) -> bytes:
    packed = io.BytesIO()
    files = {
        "weights.txt": f"weights of {version}".encode(),
        "code/inference.py": (program or INFERENCE.format(version=version)).encode(),
        **(names or {}),
    }
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def until(true: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


class Here:
    """One account with hosting, and short ways to use it."""

    def __init__(self, account: LocalAccount, service: Hosting) -> None:
        self.account, self.service = account, service
        self.events: Events = account.events  # type: ignore[assignment]
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        return self.account.operations["sagemaker"][operation](request)

    def upload(self, key: str, content: bytes) -> str:
        self.account.client("s3").put_object(Bucket="artifacts", Key=key, Body=content)
        return f"s3://artifacts/{key}"

    def model(self, name: str, content: bytes | None = None) -> None:
        uri = self.upload(f"{name}/model.tar.gz", content or artifact(name))
        environment = {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}
        container = {"Image": IMAGE, "ModelDataUrl": uri, "Environment": environment}
        self.call("CreateModel", ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)

    def config(self, name: str, content: bytes | None = None, **variant: Any) -> None:
        self.model(name, content)
        production = {"VariantName": "AllTraffic", "ModelName": name, "InstanceType": "ml.c5.large", **variant}
        self.call("CreateEndpointConfig", EndpointConfigName=name, ProductionVariants=[production])

    def endpoint(self, config: str, **variant: Any) -> None:
        self.config(config, **variant)
        tags = [{"Key": "ml-platform:dataset", "Value": "cancer"}]
        self.call("CreateEndpoint", EndpointName=ENDPOINT, EndpointConfigName=config, Tags=tags)
        self.settled()

    def describe(self) -> dict[str, Any]:
        return self.call("DescribeEndpoint", EndpointName=ENDPOINT)

    def settled(self) -> dict[str, Any]:
        return until(lambda: (d := self.describe())["EndpointStatus"] in ("InService", "Failed") and d)

    def invoke(self, body: bytes = b"[]", **headers: str) -> tuple[int, dict[str, str], Any]:
        named = {"content-type": "application/json", "accept": "application/json", **headers}
        made = self.account.invoke(ENDPOINT, named, body)
        status, answered, content = asyncio.run_coroutine_threadsafe(made, self.loop).result(70)  # type: ignore[arg-type]
        return status, answered, json.loads(content)

    def pids(self) -> set[int]:
        endpoint = self.service.endpoints[ENDPOINT]
        return {instance.process.pid for variant in endpoint.variants for instance in variant.fleet}


@contextmanager
def hosted(home: Path) -> Iterator[Here]:
    """The account, and its end."""
    with mock_aws():
        clock = Clock()
        account = LocalAccount(port=0, home=home, clock=clock, journal=Journal(clock))
        account.events = Events()
        service = hosting.install(account)
        account.client("s3").create_bucket(Bucket="artifacts")
        account.client("iam").create_role(RoleName="training", AssumeRolePolicyDocument=TRUST)
        made = Here(account, service)
        yield made
        for close in reversed(account.closers):
            close()
        made.loop.call_soon_threadsafe(made.loop.stop)
        made.thread.join()


class Served:
    """A whole laptop with one model, and clients of it over HTTP that do not try again by themselves."""

    def __init__(self, account: Account) -> None:
        self.account = account
        keys = {"aws_access_key_id": "laptop", "aws_secret_access_key": "laptop"}
        config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, max_pool_connections=20)
        session = boto3.session.Session(region_name=REGION, **keys)
        self.sagemaker, self.runtime, self.s3, self.cloudwatch, self.scaling = (
            session.client(service, endpoint_url=account.url, config=config)
            for service in ("sagemaker", "sagemaker-runtime", "s3", "cloudwatch", "application-autoscaling")
        )
        self.s3.create_bucket(Bucket="artifacts")
        iam = account.client("iam")
        iam.create_role(RoleName="training", AssumeRolePolicyDocument=TRUST)
        iam.put_role_policy(RoleName="training", PolicyName="hosting", PolicyDocument=HOSTING_POLICY)

    def model(self, name: str, content: bytes | None = None, **model: Any) -> None:
        self.s3.put_object(Bucket="artifacts", Key=f"{name}/model.tar.gz", Body=content or artifact(name))
        environment = {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}
        uri = f"s3://artifacts/{name}/model.tar.gz"
        container = {"Image": IMAGE, "ModelDataUrl": uri, "Environment": environment}
        self.sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container, **model)

    def config(self, name: str, *variants: dict[str, Any], **config: Any) -> None:
        """Variants of the name AllTraffic and the model "one" unless they say otherwise."""
        production = [{"VariantName": "AllTraffic", "ModelName": "one", **variant} for variant in variants]
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=production, **config)

    def endpoint(self, name: str, config: str | None = None) -> dict[str, Any]:
        tags = [{"Key": "ml-platform:dataset", "Value": name}]
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config or name, Tags=tags)
        return self.settled(name)

    def describe(self, name: str) -> dict[str, Any]:
        described: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=name)
        return described

    def settled(self, name: str) -> dict[str, Any]:
        described: dict[str, Any] = until(
            lambda: (d := self.describe(name))["EndpointStatus"] in ("InService", "Failed") and d
        )
        return described

    def gone(self, name: str) -> None:
        self.sagemaker.delete_endpoint(EndpointName=name)
        until(lambda: not self.sagemaker.list_endpoints(NameContains=name)["Endpoints"])

    def invoke(self, name: str, body: bytes = b"[]", **request: Any) -> Any:
        """The model's answer. Raises ClientError."""
        named = {"ContentType": "application/json", "Accept": "application/json", **request}
        answer = self.runtime.invoke_endpoint(EndpointName=name, Body=body, **named)
        return json.loads(answer["Body"].read())

    def datapoints(
        self, name: str, metric: str, namespace: str = "AWS/SageMaker", **dimensions: str
    ) -> dict[str, float]:
        """SampleCount, Maximum and Sum of a metric of an endpoint, once there is one."""
        named = {"EndpointName": name, "VariantName": "AllTraffic", **dimensions}
        now = self.account.clock.now()
        found = until(
            lambda: self.cloudwatch.get_metric_statistics(
                Namespace=namespace,
                MetricName=metric,
                Dimensions=[{"Name": key, "Value": value} for key, value in named.items() if value],
                StartTime=now - timedelta(days=2),
                EndTime=now + timedelta(days=2),
                Period=7 * 24 * 3600,
                Statistics=["SampleCount", "Maximum", "Sum"],
            )["Datapoints"]
        )
        return {key: max(point[key] for point in found) for key in ("SampleCount", "Maximum", "Sum")}

    def wake(self, target: dict[str, str], metric: str, dimension: str, value: str) -> None:
        """A step policy that makes it one, and the alarm that calls it as soon as the metric's sum in a minute is 1."""
        policy = self.scaling.put_scaling_policy(
            **target,
            PolicyName="wake",
            PolicyType="StepScaling",
            StepScalingPolicyConfiguration={
                "AdjustmentType": "ExactCapacity",
                "Cooldown": 300,
                "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
            },
        )["PolicyARN"]
        self.cloudwatch.put_metric_alarm(
            AlarmName=f"wake-{value}",
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=[{"Name": dimension, "Value": value}],
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            AlarmActions=[policy],
        )

    def entries(self, kind: str, **fields: str) -> list[dict[str, Any]]:
        """The event log's entries of a kind."""
        return [
            entry
            for entry in self.account.journal.entries()
            if entry["kind"] == kind and all(entry.get(key) == value for key, value in fields.items())
        ]


@contextmanager
def served() -> Iterator[Served]:
    """The laptop with the model "one", and its end."""
    with running() as account:
        made = Served(account)
        made.model("one")
        yield made
