"""SageMaker processing jobs on the laptop: a job's own program, its inputs and outputs in S3, seen through the API."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from moto_over_http import OpenIdentities, RecordingBus, moto_account

from laptop import service_model
from laptop.account import Account
from laptop.bill import Bill
from laptop.errors import ServiceError
from laptop.processing import Processing

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.0-5"
TRUST = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}


class Sandbox:
    """An account with a bucket, a role and a way to run a script as a processing job."""

    def __init__(self, account: Account) -> None:
        self.account = account
        account.bill = Bill(account)
        self.s3 = account.client("s3")
        self.processing = Processing(account, grace_seconds=1.0)
        account.closers.append(self.processing.close)
        self.s3.create_bucket(Bucket="sandbox")
        trust = json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})
        iam = account.client("iam")
        self.role = iam.create_role(RoleName="processing", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        self.put("data/a+b ü.csv", b"1,2\n")
        self.put("data/deeper/c.csv", b"3,4\n")
        self.put("manifest.json", json.dumps([{"prefix": "s3://sandbox/data/"}, "deeper/c.csv"]).encode())

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket="sandbox", Key=key, Body=body)

    def request(self, name: str, script: str = "", **changes: Any) -> dict[str, Any]:
        self.put(f"code/{name}/run.py", script.encode())
        request = {
            "ProcessingJobName": name,
            "RoleArn": self.role,
            "AppSpecification": {
                "ImageUri": IMAGE,
                "ContainerEntrypoint": ["python3", "/opt/ml/processing/input/code/run.py"],
                "ContainerArguments": ["--out=/opt/ml/processing/output/made", "not/opt/ml/this"],
            },
            "ProcessingInputs": [
                source("code", f"s3://sandbox/code/{name}/run.py"),
                source("all", "s3://sandbox/data/"),
                source("listed", "s3://sandbox/manifest.json", "ManifestFile"),
            ],
            "ProcessingOutputConfig": {"Outputs": [target("made", f"s3://sandbox/out/{name}")]},
            "ProcessingResources": {
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 5}
            },
            "Tags": [{"Key": "Project", "Value": "sandbox"}],
        }
        return {key: value for key, value in {**request, **changes}.items() if value is not None}

    def start(self, name: str, script: str, **changes: Any) -> None:
        request = self.request(name, script, **changes)
        assert service_model.validate("sagemaker", "CreateProcessingJob", request) == []
        self.processing.create(request)

    def describe(self, name: str) -> dict[str, Any]:
        return self.processing.describe({"ProcessingJobName": name})

    def finish(self, name: str) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while (job := self.describe(name))["ProcessingJobStatus"] in ("InProgress", "Stopping"):
            assert time.monotonic() < deadline, f"{name} did not end"
            time.sleep(0.02)
        return job

    def states(self, name: str) -> list[str]:
        assert isinstance(self.account.events, RecordingBus)
        told = [event for event in self.account.events.events if event[2]["ProcessingJobName"] == name]
        assert {event[:2] for event in told} == {("aws.sagemaker", "SageMaker Processing Job State Change")}
        return [event[2]["ProcessingJobStatus"] for event in told]

    def outputs(self, name: str) -> dict[str, bytes]:
        listed = self.s3.list_objects_v2(Bucket="sandbox", Prefix=f"out/{name}/").get("Contents", [])
        keys = [stored["Key"] for stored in listed]
        return {
            key.removeprefix(f"out/{name}/"): self.s3.get_object(Bucket="sandbox", Key=key)["Body"].read()
            for key in keys
        }


def source(name: str, uri: str, kind: str = "S3Prefix", **changes: str) -> dict[str, Any]:
    place = {"S3Uri": uri, "LocalPath": f"/opt/ml/processing/input/{name}", "S3DataType": kind, "S3InputMode": "File"}
    return {"InputName": name, "S3Input": place | changes}


def target(name: str, uri: str, **changes: str) -> dict[str, Any]:
    place = {"S3Uri": uri, "LocalPath": f"/opt/ml/processing/output/{name}", "S3UploadMode": "EndOfJob"}
    return {"OutputName": name, "S3Output": place | changes}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with moto_account(tmp_path_factory.mktemp("home")) as account:
        yield Sandbox(account)


def test_a_job_runs_its_own_program_between_its_inputs_and_its_outputs(sandbox: Sandbox) -> None:
    sandbox.start(
        "whole",
        """
import json, os, pathlib, sys
out = pathlib.Path(sys.argv[1].split("=")[1])
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
inputs = pathlib.Path(os.environ["INPUTS"])
print("working", flush=True)
(out / "sub").mkdir()
(out / "sub" / "found.json").write_text(json.dumps({
    "files": sorted(str(path.relative_to(inputs)) for path in inputs.rglob("*.csv")),
    "second argument": sys.argv[2],
    "job": json.loads((base / "config/processingjobconfig.json").read_text())["ProcessingJobName"],
    "hosts": len(json.loads((base / "config/resourceconfig.json").read_text())["hosts"]),
}))
(base / "output" / "message").write_text("3 files read")
""",
        Environment={"INPUTS": "/opt/ml/processing/input"},
    )
    job = sandbox.finish("whole")
    assert job["ProcessingJobStatus"] == "Completed", job
    assert json.loads(sandbox.outputs("whole")["sub/found.json"]) == {
        "files": ["all/a+b ü.csv", "all/deeper/c.csv", "listed/deeper/c.csv"],
        "second argument": "not/opt/ml/this",
        "job": "whole",
        "hosts": 1,
    }
    assert job["ExitMessage"] == "3 files read"
    assert job["CreationTime"] <= job["ProcessingStartTime"] <= job["ProcessingEndTime"]
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 86_400}
    assert "FailureReason" not in job
    assert sandbox.states("whole") == ["InProgress", "Completed"]
    logs = sandbox.account.client("logs")
    (stream,) = logs.describe_log_streams(
        logGroupName="/aws/sagemaker/ProcessingJobs", logStreamNamePrefix="whole/algo-1-"
    )["logStreams"]
    lines = logs.get_log_events(
        logGroupName="/aws/sagemaker/ProcessingJobs", logStreamName=stream["logStreamName"], startFromHead=True
    )["events"]
    assert [line["message"] for line in lines] == ["working"]
    assert sandbox.account.tags[job["ProcessingJobArn"]] == {"Project": "sandbox"}
    assert isinstance(sandbox.account.identities, OpenIdentities)
    assert set(sandbox.account.identities.asked) == {sandbox.role}, "S3 and logs are used with the job's role"
    assert isinstance(sandbox.account.bill, Bill)
    (line,) = sandbox.account.bill.lines()
    assert (line.usage_type, dict(line.tags)) == ("USE1-Processing:ml.m5.xlarge", {"Project": "sandbox"})
    # ml.m5.xlarge costs 0.23 USD an hour; the job took some whole seconds of it.
    seconds = round(line.quantity * 3600)
    assert 1 <= seconds <= 20
    assert abs(line.usd - Decimal("0.23") * seconds / 3600) < Decimal("0.000001")
    assert not list((sandbox.account.home / "processing").rglob("ml")), "the machine is given back"


def test_a_program_that_fails_leaves_its_message_and_no_output(sandbox: Sandbox) -> None:
    sandbox.start(
        "failing",
        """
import os, pathlib, sys
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
(base / "processing/output/made/half").write_text("never to be used")
(base / "output/message").write_text("Line 7 of a.csv has 3 columns, not 4.")
sys.exit(3)
""",
    )
    sandbox.start("missing", "", ProcessingInputs=[source("code", "s3://sandbox/nowhere/")])
    failing, missing = sandbox.finish("failing"), sandbox.finish("missing")
    assert failing["ProcessingJobStatus"] == "Failed"
    assert failing["FailureReason"] == "AlgorithmError: See job logs for more information, exit code: 3"
    assert failing["ExitMessage"] == "Line 7 of a.csv has 3 columns, not 4."
    assert sandbox.outputs("failing") == {}
    assert sandbox.states("failing") == ["InProgress", "Failed"]
    assert missing["FailureReason"] == (
        "ClientError: Data download failed:No S3 objects found under S3 URL s3://sandbox/nowhere/"
    )


def test_a_job_that_is_stopped_or_runs_too_long_ends_as_stopped(sandbox: Sandbox) -> None:
    sandbox.start("stopped", "import time; time.sleep(60)")
    sandbox.start("too-long", "import time; time.sleep(60)", StoppingCondition={"MaxRuntimeInSeconds": 1})
    sandbox.processing.stop({"ProcessingJobName": "stopped"})
    stopped, too_long = sandbox.finish("stopped"), sandbox.finish("too-long")
    assert stopped["ProcessingJobStatus"] == too_long["ProcessingJobStatus"] == "Stopped"
    assert sandbox.states("stopped") == sandbox.states("too-long") == ["InProgress", "Stopping", "Stopped"]
    with pytest.raises(ServiceError, match="because the processing job is in status Stopped"):
        sandbox.processing.stop({"ProcessingJobName": "stopped"})
    with pytest.raises(ServiceError, match="a job with this name already exists"):
        sandbox.processing.create(sandbox.request("stopped"))
    listed = sandbox.processing.list({"NameContains": "STOPPED", "StatusEquals": "Stopped", "MaxResults": 1})
    assert [one["ProcessingJobName"] for one in listed["ProcessingJobSummaries"]] == ["stopped"]
    assert "ProcessingInputs" not in listed["ProcessingJobSummaries"][0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"AppSpecification": {"ImageUri": "1.dkr.ecr/x"}}, "Provide an Amazon Elastic Container Registry path"),
        ({"AppSpecification": {"ImageUri": IMAGE.replace("xgboost", "spark")}}, "images, without Docker"),
        ({"AppSpecification": {"ImageUri": IMAGE.replace("us-east-1", "eu-west-1")}}, "must be in the same region"),
        ({"AppSpecification": {"ImageUri": IMAGE}}, "give AppSpecification.ContainerEntrypoint"),
        ({"ProcessingInputs": [source("a", "s3://b/c", S3InputMode="Pipe")]}, "reads S3Input in File mode"),
        ({"ProcessingInputs": [source("a", "s3://b/c")] * 2}, "Input names must be unique: a"),
        ({"ProcessingInputs": [source("a", "s3://b/c", LocalPath="/tmp")]}, "must start with /opt/ml/processing/"),
        (
            {"ProcessingOutputConfig": {"Outputs": [target("a", "s3://b/c", S3UploadMode="Continuous")]}},
            "uploads S3Output in EndOfJob mode",
        ),
        (
            {
                "ProcessingResources": {
                    "ClusterConfig": {"InstanceCount": 2, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
                }
            },
            "processes on one machine",
        ),
        ({"RoleArn": "arn:aws:iam::123456789012:role/nobody"}, "Could not assume role"),
    ],
)
def test_what_cannot_run_is_refused_before_it_starts(sandbox: Sandbox, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ServiceError, match=sentence):
        sandbox.processing.create(sandbox.request("refused", **changes))
    with pytest.raises(ServiceError, match="not found"):
        sandbox.describe("refused")
