"""Small real fakes and plain builders for the tests: everything has a default, and a test says what it is about."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import boto3
import older_sdk
from moto import mock_aws

from mlplatform import names
from mlplatform.app import App
from mlplatform.aws import Aws
from mlplatform.facts import (
    DATASET_TAG,
    STACK_TAG,
    Approval,
    DatasetArrived,
    Drop,
    Endpoint,
    JobStatus,
    ModelCard,
    ModelMetrics,
    ModelPackage,
    PackageChanged,
    Sample,
    StoredObject,
    Task,
    TrainingJob,
)
from mlplatform.settings import Settings, read_settings

os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # each has a snapshot: a thousand to list, nobody's
EVENTS = Path(__file__).parents[1] / "events"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
REGION = "us-east-1"
DIGEST = "a1b2c3" + "0" * 58
VERSION = "0123456789ab"
JOB = f"ml-platform-churn-{VERSION}-a1b2c"
ENVIRONMENT = {
    "STACK_NAME": "ml-platform",
    "DATA_BUCKET": "ml-platform-data",
    "ARTIFACT_BUCKET": "ml-platform-artifacts",
    "ALERTS_TOPIC_ARN": f"arn:aws:sns:{REGION}:123456789012:ml-platform-alerts",
    "TRAINING_ROLE_ARN": "arn:aws:iam::123456789012:role/ml-platform-training",
    "MODEL_CODE_URI": f"s3://ml-platform-artifacts/code/{DIGEST}/sourcedir.tar.gz",
    "MODEL_CODE_DIGEST": DIGEST,
    "TRAINING_INSTANCE_TYPE": "ml.m5.xlarge",
    "TRAINING_MAX_RUNTIME_SECONDS": "3600",
    "TRAINING_MAX_WAIT_SECONDS": "7200",
    "TUNING_MAX_COST_USD": "5",
    "HOSTING_INSTANCE_TYPE": "ml.c5.large",
    "MIN_INSTANCES": "1",
    "MAX_INSTANCES": "5",
    "INVOCATIONS_PER_INSTANCE": "1000",
    "CPU_TARGET_PERCENT": "70",
    "SCALE_OUT_COOLDOWN_SECONDS": "60",
    "SCALE_IN_COOLDOWN_SECONDS": "300",
    "CANARY_PERCENT": "10",
    "BAKING_SECONDS": "600",
    "PROJECT": "ml-platform",
    "ENVIRONMENT": "dev",
    "COST_CENTER": "machine-learning",
    "OWNER": "ml-team",
    "SLACK_WEBHOOK_PARAMETER": "/ml-platform/slack-webhook",
    "OFFICE_HOURS": "mon-fri 08:00-18:00",
    "TIME_ZONE": "UTC",
    "HOLIDAYS": "",
    "DAILY_CEILING_USD": "50",
    "MONTHLY_CEILING_USD": "500",
    "MONTHLY_BUDGET_USD": "500",
    "APPROVAL_CEILING_USD": "100",
    "SUBNET_IDS": "",
    "SECURITY_GROUP_ID": "",
    "DEV_MAX_AGE_DAYS": "7",
    "DEV_GRACE_DAYS": "3",
    "KEPT_PACKAGES": "30",
    "AWS_REGION": REGION,
}


def settings(**changed: Any) -> Settings:
    return replace(read_settings(ENVIRONMENT), **changed)


def sample_event(name: str) -> dict[str, Any]:
    """A verbatim sample of events/."""
    return json.loads((EVENTS / f"{name}.json").read_text())  # type: ignore[no-any-return]


def csv(rows: int = 40, *, seed: int = 1) -> bytes:
    """A table with a header, two numeric columns and a label of two classes."""
    rng = random.Random(seed)
    lines = [f"{rng.random():.4f},{rng.random():.4f},{'yes' if row % 2 else 'no'}" for row in range(rows)]
    return ("age,income,label\n" + "\n".join(lines) + "\n").encode()


# ---- facts ----


def stored(key: str = "datasets/churn/data.csv", *, etag: str = "e1", at: int = 0, size: int = 1000) -> StoredObject:
    """`at` is in seconds after noon."""
    return StoredObject(key, etag, size, NOON + timedelta(seconds=at))


def arrived(key: str = "datasets/churn/data.csv", *, etag: str = "e1", size: int = 1000) -> DatasetArrived:
    return DatasetArrived("ml-platform-data", key, etag, size)


def drop(content: bytes | None = None, *, key: str = "datasets/churn/data.csv", job_json: Any = None) -> Drop:
    content = csv() if content is None else content
    one = stored(key, etag=hashlib.md5(content).hexdigest(), size=len(content))
    objects = (one,) if job_json is None else (one, stored("datasets/churn/job.json", etag="e2"))
    return Drop(
        dataset=arrived(key).dataset,
        version=names.dataset_version(objects),
        objects=objects,
        samples=(Sample(key, content, complete=True),),
        job_json=None if job_json is None else json.dumps(job_json).encode(),
    )


def training_job(**changed: Any) -> TrainingJob:
    """A completed one, 300 seconds of training of which 100 were billed."""
    job = TrainingJob(
        name=JOB,
        arn=f"arn:aws:sagemaker:{REGION}:123456789012:training-job/{JOB}",
        status=JobStatus.COMPLETED,
        secondary_status="Completed",
        failure_reason=None,
        artifact_uri=f"s3://ml-platform-artifacts/training-output/{JOB}/output/model.tar.gz",
        spot=True,
        max_wait_seconds=7200,
        training_seconds=300,
        billable_seconds=100,
        instance_type="ml.m5.xlarge",
        instance_count=1,
        hyperparameters={"sagemaker_submit_directory": '"s3://ml-platform-artifacts/code/x/sourcedir.tar.gz"'},
        tags={STACK_TAG: "ml-platform", DATASET_TAG: "churn", names.VERSION_TAG: VERSION},
        created=NOON,
        inputs={},
        max_runtime_seconds=3600,
    )
    return replace(job, **changed)


LIVE_JOB = "ml-platform-churn-ba9876543210-a1b2c"
LIVE_ARTIFACT = f"s3://ml-platform-artifacts/training-output/{LIVE_JOB}/output/model.tar.gz"


def endpoint(**changed: Any) -> Endpoint:
    """In service with the model of LIVE_JOB."""
    one = Endpoint(
        name="ml-platform-churn",
        arn=f"arn:aws:sagemaker:{REGION}:123456789012:endpoint/ml-platform-churn",
        status="InService",
        config_name=LIVE_JOB,
        failure_reason=None,
        variant_name=names.VARIANT,
        instance_type="ml.c5.large",
        instance_count=1,
        model_name=LIVE_JOB,
        artifact_uri=LIVE_ARTIFACT,
        tags={
            STACK_TAG: "ml-platform",
            DATASET_TAG: "churn",
            names.WANTED_TAG: LIVE_JOB,
            names.ASKED_TAG: LIVE_JOB,
        },
    )
    return replace(one, **changed)


IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6.0-cpu-py312-ubuntu22.04-sagemaker"


def model_package(version: int = 2, **changed: Any) -> ModelPackage:
    """Of JOB, which passed the gate, and which a person approved an hour after noon."""
    one = ModelPackage(
        arn=f"arn:aws:sagemaker:{REGION}:123456789012:model-package/ml-platform-churn/{version}",
        group="ml-platform-churn",
        version=version,
        approval=Approval.APPROVED,
        description=f"Trained by {JOB}. It has roc_auc 0.9000.",
        image=IMAGE,
        artifact_uri=f"s3://ml-platform-artifacts/training-output/{JOB}/output/model.tar.gz",
        environment={"SAGEMAKER_PROGRAM": "inference.py"},
        properties={"gate": "passed", "training_job": JOB},
        created=NOON,
        modified=NOON + timedelta(hours=1),
    )
    return replace(one, **changed)


def package_changed(package: ModelPackage, **changed: Any) -> PackageChanged:
    """The event of its approval."""
    one = PackageChanged(
        package.arn, package.group, package.version, package.approval, False, ("ModelApprovalStatus",), "1764"
    )
    return replace(one, **changed)


def metrics_json(*, task: str = "binary", **changed: Any) -> dict[str, Any]:
    classes = task != "regression"
    document = {
        "format": 1,
        "task": task,
        "classes": ["no", "yes"] if classes else None,
        "objective": {"name": "roc_auc", "direction": "maximize"}
        if classes
        else {"name": "rmse", "direction": "minimize"},
        "test": {"rows": 8, "accuracy": 0.9, "roc_auc": 0.9, "log_loss": 0.3}
        if classes
        else {"rows": 8, "rmse": 2.0, "mae": 1.5, "r2": 0.8},
        "validation": {"rows": 8},
        "live": None,
        "live_error": None,
    }
    return document | changed


SAMPLE_JSON = {
    "request": {"features": [[0.5, 0.25]]},
    "response": {"predictions": ["yes"], "probabilities": [[0.2, 0.8]], "classes": ["no", "yes"]},
}


def card(*, task: Task = Task.BINARY, test: float = 0.9, live: float | None = None, **changed: Any) -> ModelCard:
    """A model's card by its objective on the test rows, and the live model's there."""
    if task is Task.REGRESSION:
        new = {"rmse": test, "r2": changed.pop("r2", 0.8)}
        metrics = ModelMetrics(task, "rmse", False, new, None if live is None else {"rmse": live}, None)
    else:
        metrics = ModelMetrics(
            task, "roc_auc", True, {"roc_auc": test}, None if live is None else {"roc_auc": live}, None
        )
    return ModelCard(replace(metrics, **changed), b"{}", json.dumps(SAMPLE_JSON).encode())


def archive(files: Mapping[str, bytes]) -> bytes:
    """A model.tar.gz."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def model_archive(metrics: Mapping[str, Any] | None = None, **files: bytes) -> bytes:
    """`files` are more of them, by name."""
    return archive(
        {
            "model.safetensors": b"\0" * 5000,
            "./metrics.json": json.dumps(metrics or metrics_json()).encode(),
            "sample.json": json.dumps(SAMPLE_JSON).encode(),
            "code/inference.py": b"",
            **files,
        }
    )


# ---- an account ----


@dataclass
class LambdaContext:
    """What Powertools reads of Lambda's context."""

    function_name: str = "test"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = f"arn:aws:lambda:{REGION}:123456789012:function:test"
    aws_request_id: str = "52fdfc07-2182-154f-163f-5f0f9a621d72"


@dataclass
class Account:
    """moto's account with the stack's buckets and topic, and what reached the topic.

    moto creates jobs Completed and endpoints InService, and accepts a second job of the same name; `answers` puts
    AWS's behaviour in the place of one operation where a test needs it. moto has no UpdateEndpoint, and forgets what
    UpdateEndpointWeightsAndCapacities does not name, so that both are here.
    """

    settings: Settings
    alerts_queue: str = ""
    calls: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        return _client(service)

    def app(self) -> App:
        account = self

        class RecordingAws(Aws):
            def _client(self, service: str) -> Any:
                if "AWS_ENDPOINT_URL" not in os.environ:
                    self._clients = _aws_clients
                return super()._client(service)

            def _call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
                account.calls.append((operation, parameters))
                assert older_sdk.unknown(service, operation, parameters) == []
                if operation in account.answers:
                    answer = account.answers[operation]
                    result = answer(parameters) if callable(answer) else answer
                    if result is not None:
                        return result  # type: ignore[no-any-return]
                return super()._call(service, operation, **parameters)

        return App(self.settings, RecordingAws(self.settings, sleep=lambda _: None))

    def called(self, operation: str) -> list[Mapping[str, Any]]:
        return [parameters for name, parameters in self.calls if name == operation]

    def put(self, key: str, content: bytes, bucket: str | None = None) -> dict[str, Any]:
        """Stores an object; returns the event that S3 sends through EventBridge, made from AWS's sample."""
        bucket = bucket or self.settings.data_bucket
        etag = self.client("s3").put_object(Bucket=bucket, Key=key, Body=content)["ETag"]
        event = sample_event("s3_object_created")
        event["detail"]["bucket"]["name"] = bucket
        event["detail"]["object"] |= {"key": key, "size": len(content), "etag": etag.strip('"')}
        return event

    def document(self, key: str, bucket: str | None = None) -> Any:
        """An object's JSON; None where there is no object."""
        s3 = self.client("s3")
        try:
            stored = s3.get_object(Bucket=bucket or self.settings.data_bucket, Key=key)
        except s3.exceptions.NoSuchKey:
            return None
        return json.loads(stored["Body"].read())

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        page = self.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
        return [entry["Key"] for entry in page.get("Contents", [])]

    def alerts(self) -> list[dict[str, Any]]:
        """What reached the topic since the last call."""
        sqs, found = self.client("sqs"), []
        while messages := sqs.receive_message(QueueUrl=self.alerts_queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                found.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=self.alerts_queue, ReceiptHandle=message["ReceiptHandle"])
        return found


# Making a client reads its service's model, which takes longer than most tests. moto answers whichever client asks.
_client = cache(partial(boto3.client, region_name=REGION))
_aws_clients: dict[str, Any] = {}


@contextmanager
def account(**changed: Any) -> Iterator[Account]:
    with mock_aws():
        one = Account(settings(**changed))
        s3, sns, sqs = one.client("s3"), one.client("sns"), one.client("sqs")
        for bucket in (one.settings.data_bucket, one.settings.artifact_bucket):
            s3.create_bucket(Bucket=bucket)
        topic = sns.create_topic(Name="ml-platform-alerts")["TopicArn"]
        one.alerts_queue = sqs.create_queue(QueueName="seen")["QueueUrl"]
        queue_arn = sqs.get_queue_attributes(QueueUrl=one.alerts_queue, AttributeNames=["QueueArn"])
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn["Attributes"]["QueueArn"])
        one.answers["update_endpoint"] = _update_endpoint
        one.answers["update_endpoint_weights_and_capacities"] = _update_weights
        one.answers["list_inference_components"] = {"InferenceComponents": []}  # moto has none
        one.answers["list_service_quotas"] = {"Quotas": []}  # an account that tells none; moto knows no SageMaker's
        yield one


def _update_endpoint(parameters: Mapping[str, Any]) -> dict[str, Any]:
    from moto.sagemaker.models import sagemaker_backends

    backend = sagemaker_backends["123456789012"][REGION]
    endpoint = backend.endpoints[parameters["EndpointName"]]
    config = backend.endpoint_configs[parameters["EndpointConfigName"]]
    counts = {one["VariantName"]: one["CurrentInstanceCount"] for one in endpoint.production_variants}
    endpoint.endpoint_config_name = parameters["EndpointConfigName"]
    endpoint.production_variants = endpoint._process_production_variants(config.production_variants)
    for one in endpoint.production_variants if parameters.get("RetainAllVariantProperties") else ():
        kept = counts.get(one["VariantName"], one["CurrentInstanceCount"])
        one |= {"CurrentInstanceCount": kept, "DesiredInstanceCount": kept}
    return {"EndpointArn": endpoint.arn}


def _update_weights(parameters: Mapping[str, Any]) -> dict[str, Any]:
    from moto.sagemaker.models import sagemaker_backends

    endpoint = sagemaker_backends["123456789012"][REGION].endpoints[parameters["EndpointName"]]
    variants = {one["VariantName"]: one for one in endpoint.production_variants}
    for change in parameters["DesiredWeightsAndCapacities"]:
        for what in ("Weight", "InstanceCount"):
            if f"Desired{what}" in change:
                new = change[f"Desired{what}"]
                variants[change["VariantName"]] |= {f"Desired{what}": new, f"Current{what}": new}
    return {"EndpointArn": endpoint.arn}


def sqs_batch(*events: Mapping[str, Any]) -> dict[str, Any]:
    """As Lambda polls it, made from AWS's sample."""
    record = sample_event("sqs_message")["Records"][0]
    return {"Records": [record | {"messageId": f"m{n}", "body": json.dumps(event)} for n, event in enumerate(events)]}
