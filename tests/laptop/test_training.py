"""SageMaker training on the laptop: real processes under the official toolkit, seen through the API."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from moto_over_http import RecordingBus, moto_account
from processes import alive

from laptop import service_model
from laptop.account import Account
from laptop.bill import Bill
from laptop.errors import ServiceError
from laptop.server import running
from laptop.training import Ending, Job, Training, billed, failure_reason, install

IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.6.0-cpu-py312-ubuntu22.04-sagemaker"
TRUST = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
ENDED = ("Completed", "Failed", "Stopped")
NOT_ON_SPOT: dict[str, Any] = {"StoppingCondition": {"MaxRuntimeInSeconds": 60}}
# What job scripts need to say where they are; a script of a test follows it.
PREAMBLE = """
import json, os, pathlib, signal, sys, time
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
model, checkpoints = pathlib.Path(os.environ["SM_MODEL_DIR"]), base / "checkpoints"
"""


class Sandbox:
    """An account with buckets, a role and a way to run a script as a training job."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.s3, self.logs = account.client("s3"), account.client("logs")
        self.bus = account.events
        self.training = Training(account, grace_seconds=1.0)
        account.closers.append(self.training.close)
        for bucket in ("sandbox-data", "sandbox-artifacts"):
            self.s3.create_bucket(Bucket=bucket)
        trust = json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})
        self.role = account.client("iam").create_role(RoleName="training", AssumeRolePolicyDocument=trust)["Role"][
            "Arn"
        ]
        self.put("datasets/one/first file+ü.csv", b"1,2\n")
        self.put("datasets/one/deeper/second.csv", b"3,4\n")
        self.put("datasets/one/job.json", b"{}")

    def put(self, key: str, body: bytes, bucket: str = "sandbox-data") -> None:
        self.s3.put_object(Bucket=bucket, Key=key, Body=body)

    def request(self, name: str, script: str = "", **changes: Any) -> dict[str, Any]:
        """A CreateTrainingJob request for a script, on spot with checkpoints."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            for file, text in (("train.py", PREAMBLE + script), ("requirements.txt", "boto3\n")):
                info = tarfile.TarInfo(file)
                info.size = len(text.encode())
                tar.addfile(info, io.BytesIO(text.encode()))
        self.put(f"code/{name}/sourcedir.tar.gz", archive.getvalue(), "sandbox-artifacts")
        request: dict[str, Any] = {
            "TrainingJobName": name,
            "RoleArn": self.role,
            "AlgorithmSpecification": {
                "TrainingImage": IMAGE,
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "train:loss", "Regex": r"(?:^|\s)train_loss=([0-9.eE+-]+)"}],
            },
            "HyperParameters": {
                "sagemaker_program": '"train.py"',
                "sagemaker_submit_directory": f'"s3://sandbox-artifacts/code/{name}/sourcedir.tar.gz"',
                "sagemaker_region": '"us-east-1"',
                "epochs": "3",
            },
            "InputDataConfig": [
                {
                    "ChannelName": "dataset",
                    "ContentType": "text/csv",
                    "DataSource": {
                        "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://sandbox-data/datasets/one/"}
                    },
                }
            ],
            "OutputDataConfig": {"S3OutputPath": "s3://sandbox-artifacts/training-output/"},
            "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 5},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 120},
            "EnableManagedSpotTraining": True,
            "CheckpointConfig": {"S3Uri": f"s3://sandbox-artifacts/checkpoints/{name}/"},
            "Tags": [{"Key": "Project", "Value": "sandbox"}],
        }
        return {key: value for key, value in {**request, **changes}.items() if value is not None}

    def start(self, name: str, script: str, **changes: Any) -> None:
        request = self.request(name, script, **changes)
        assert service_model.validate("sagemaker", "CreateTrainingJob", request) == []
        self.training.create(request)

    def describe(self, name: str) -> dict[str, Any]:
        return self.training.describe({"TrainingJobName": name})

    def until(self, condition: Callable[[], Any], seconds: float = 50) -> Any:
        """What `condition` finds; a failure says what the jobs that run were doing. A job may run for 60 s."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := condition():
                return found
            time.sleep(0.02)
        jobs = [entry for entry in self.account.journal.entries() if "job" in entry]
        names = {entry["job"] for entry in jobs}
        running = [name for name in names if self.describe(name)["TrainingJobStatus"] not in ENDED]
        told = "\n".join(str(entry) for entry in jobs[-30:])
        logs = "\n".join(f"{name}: {self.log(name)}" for name in running)
        raise AssertionError(f"it did not happen within {seconds} s\n{told}\nlogs of what still runs:\n{logs}")

    def finish(self, name: str) -> dict[str, Any]:
        self.until(lambda: self.describe(name)["TrainingJobStatus"] in ENDED)
        return self.describe(name)

    def keys(self, prefix: str) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket="sandbox-artifacts", Prefix=prefix).get("Contents", [])
        return [stored["Key"].removeprefix(prefix) for stored in listed]

    def artifact(self, name: str) -> dict[str, bytes]:
        """The files of a job's model.tar.gz."""
        uri = self.describe(name)["ModelArtifacts"]["S3ModelArtifacts"]
        assert uri == f"s3://sandbox-artifacts/training-output/{name}/output/model.tar.gz"
        body = self.s3.get_object(Bucket="sandbox-artifacts", Key=uri.split("/", 3)[3])["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}

    def log(self, name: str, host: str = "algo-1") -> list[str]:
        logs, group = self.logs, "/aws/sagemaker/TrainingJobs"
        try:
            found = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/{host}-")
        except logs.exceptions.ResourceNotFoundException:
            return []  # the very first line of the account makes the group
        streams = found["logStreams"]
        return [
            event["message"]
            for stream in streams
            for event in logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        ]

    def events(self, name: str) -> list[dict[str, Any]]:
        assert isinstance(self.bus, RecordingBus)
        return [detail for _, _, detail, _ in self.bus.events if detail.get("TrainingJobName") == name]

    def states(self, name: str) -> list[str]:
        return [transition["Status"] for transition in self.describe(name)["SecondaryStatusTransitions"]]

    def machine_folders(self) -> list[Path]:
        # <job>/<attempt>/<host>/ml: a search of whole trees would meet folders that vanish meanwhile.
        return list((self.account.home / "training").glob("*/*/*/ml"))


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with moto_account(tmp_path_factory.mktemp("home")) as account:
        yield Sandbox(account)


def test_a_job_runs_its_script_and_shows_what_it_did(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CALLERS_SECRET", "not for the job")
    sandbox.start(
        "whole-story",
        """
for epoch in range(3):
    print(f"epoch={epoch} train_loss=0.{9 - epoch}5 rest", flush=True)
channel = pathlib.Path(os.environ["SM_CHANNEL_DATASET"])
found = {
    "args": sys.argv[1:],
    "files": sorted(str(p.relative_to(channel)) for p in channel.rglob("*") if p.is_file()),
    "job": os.environ["TRAINING_JOB_NAME"],
    "own": os.environ["COLOUR"],
    "leaked": "CALLERS_SECRET" in os.environ,
    "config": json.loads((base / "input/config/inputdataconfig.json").read_text()),
}
(model / "found.json").write_text(json.dumps(found))
(base / "output/data/report.txt").write_text("done")
while not pathlib.Path(os.environ["GO"]).exists():
    time.sleep(0.02)
time.sleep(1.2)
""",
        Environment={"COLOUR": "green", "GO": str(tmp_path / "go")},
    )
    early = sandbox.until(lambda: [line for line in sandbox.log("whole-story") if "train_loss=0.75" in line])
    assert early
    assert sandbox.describe("whole-story")["SecondaryStatus"] == "Training", "the log arrives while the job runs"
    (tmp_path / "go").touch()
    job = sandbox.finish("whole-story")

    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert sandbox.states("whole-story") == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    for transition in job["SecondaryStatusTransitions"][:-1]:
        assert (transition["EndTime"] - transition["StartTime"]).total_seconds() >= 0.19, "each state can be seen"
    found = json.loads(sandbox.artifact("whole-story")["found.json"])
    assert found == {
        "args": ["--epochs", "3"],
        "files": ["deeper/second.csv", "first file+ü.csv", "job.json"],
        "job": "whole-story",
        "own": "green",
        "leaked": False,
        "config": {
            "dataset": {
                "TrainingInputMode": "File",
                "S3DistributionType": "FullyReplicated",
                "RecordWrapperType": "None",
                "ContentType": "text/csv",
            }
        },
    }
    assert sandbox.keys("training-output/whole-story/output/") == ["model.tar.gz", "output.tar.gz"]
    (metric,) = job["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("train:loss", 0.75)
    statistics = sandbox.account.client("cloudwatch").get_metric_statistics(
        Namespace="/aws/sagemaker/TrainingJobs",
        MetricName="train:loss",
        Dimensions=[{"Name": "TrainingJobName", "Value": "whole-story"}],
        StartTime=job["CreationTime"].timestamp() - 60,
        EndTime=job["CreationTime"].timestamp() + 600,
        Period=3600,
        Statistics=["SampleCount", "Maximum"],
    )["Datapoints"]
    assert [(point["SampleCount"], point["Maximum"]) for point in statistics] == [(3.0, 0.95)]
    assert 1 <= job["BillableTimeInSeconds"] < job["TrainingTimeInSeconds"], "spot is cheaper"
    assert job["TrainingStartTime"] < job["TrainingEndTime"]
    deadline = time.monotonic() + 30  # it is given back after the job has ended
    while left := [path for path in sandbox.machine_folders() if "whole-story" in str(path)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_every_state_is_told_on_the_bus_as_aws_tells_it(sandbox: Sandbox) -> None:
    sandbox.start(
        "told", "print('hello')", EnableManagedSpotTraining=None, StoppingCondition={"MaxRuntimeInSeconds": 60}
    )
    job = sandbox.finish("told")
    events = sandbox.events("told")
    assert [(event["TrainingJobStatus"], event["SecondaryStatus"]) for event in events] == [
        ("InProgress", "Starting"),
        ("InProgress", "Downloading"),
        ("InProgress", "Training"),
        ("InProgress", "Uploading"),
        ("Completed", "Completed"),
    ]
    last = events[-1]
    assert json.loads(json.dumps(last)) == last
    assert last["CreationTime"] == str(int(job["CreationTime"].timestamp() * 1000))
    assert last["Tags"] == {"Project": "sandbox"}
    assert last["StoppingCondition"] == {"MaxRuntimeInSeconds": 60}
    assert "FailureReason" not in last
    assert job["BillableTimeInSeconds"] == job["TrainingTimeInSeconds"], "without spot all of it is billed"
    assert "ModelArtifacts" not in job, "an empty model folder makes no artifact"
    told = [entry for entry in sandbox.account.journal.entries() if entry.get("job") == "told"]
    assert [entry["secondary_status"] for entry in told] == [event["SecondaryStatus"] for event in events]


def test_a_failed_script_gives_its_own_sentence_as_the_reason(sandbox: Sandbox) -> None:
    sandbox.start(
        "sentence",
        """
(base / "output/failure").write_text("Line 7 of a.csv has 3 columns, not 4.")
(model / "half").write_text("never to be used")
sys.exit(1)
""",
    )
    sandbox.start("traceback", "raise ValueError('the label is missing')")
    sentence, traceback = sandbox.finish("sentence"), sandbox.finish("traceback")
    assert sentence["TrainingJobStatus"] == sentence["SecondaryStatus"] == "Failed"
    assert sentence["FailureReason"] == "AlgorithmError: Line 7 of a.csv has 3 columns, not 4., exit code: 1"
    assert "ModelArtifacts" not in sentence
    assert sandbox.keys("training-output/sentence/") == []
    assert traceback["FailureReason"].startswith("AlgorithmError: ExecuteUserScriptError:\nExitCode 1")
    # The toolkit reads the script's output in pieces and starts a line with each.
    assert "ValueError: the label is missing" in " ".join(traceback["FailureReason"].split()).replace(
        "ValueError the", "ValueError: the"
    )
    assert sandbox.events("traceback")[-1]["FailureReason"] == traceback["FailureReason"]


def test_a_stopped_job_saves_what_it_has_and_one_that_will_not_stop_is_killed(sandbox: Sandbox) -> None:
    sandbox.start(
        "obedient",
        """
def leave(*_):
    (model / "weights").write_text("saved in time")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
time.sleep(60)
""",
    )
    sandbox.start(
        "stubborn", "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    for name in ("obedient", "stubborn"):
        sandbox.until(lambda name=name: "ready" in sandbox.log(name))
        sandbox.training.stop({"TrainingJobName": name})
        assert sandbox.describe(name)["TrainingJobStatus"] == "Stopping"
        sandbox.training.stop({"TrainingJobName": name})  # a second request changes nothing
    obedient, stubborn = sandbox.finish("obedient"), sandbox.finish("stubborn")
    assert (obedient["TrainingJobStatus"], obedient["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert sandbox.artifact("obedient") == {"weights": b"saved in time"}
    assert stubborn["TrainingJobStatus"] == "Stopped"
    assert sandbox.states("obedient") == ["Starting", "Downloading", "Training", "Stopping", "Stopped"]
    with pytest.raises(ServiceError, match="because the training job is in status Stopped"):
        sandbox.training.stop({"TrainingJobName": "obedient"})


def test_a_job_that_runs_too_long_is_stopped_not_failed_and_keeps_its_artifact(sandbox: Sandbox) -> None:
    sandbox.start(
        "too-long",
        "(model / 'best').write_text('epoch 3')\nprint('ready', flush=True)\ntime.sleep(60)",
        StoppingCondition={"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3600},
    )
    sandbox.until(lambda: "ready" in sandbox.log("too-long"))
    sandbox.training._jobs.find("too-long").training_seconds += 3600  # as if it had trained for an hour
    job = sandbox.finish("too-long")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert sandbox.artifact("too-long") == {"best": b"epoch 3"}
    assert "FailureReason" not in job


def test_an_interrupted_spot_job_goes_on_from_its_checkpoint_on_an_empty_machine(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.put("checkpoints/interrupted/from an earlier job.txt", b"kept", "sandbox-artifacts")
    sandbox.start(
        "interrupted",
        """
state = checkpoints / "epoch.txt"
def leave(*_):
    (checkpoints / "farewell").write_text("saved after SIGTERM")
    sys.exit(143)
signal.signal(signal.SIGTERM, leave)
if not state.exists():
    (base / "scratch").write_text("lost with the machine")
    (checkpoints / "obsolete").write_text("x")
    while not pathlib.Path(os.environ["GO"]).exists():
        time.sleep(0.02)
    (checkpoints / "obsolete").unlink()
    state.write_text("7")
    print("waiting", flush=True)
    time.sleep(60)
found = {path.name: path.read_text() for path in checkpoints.iterdir()}
print("train_loss=0.5")
(model / "found.json").write_text(json.dumps([found, (base / "scratch").exists()]))
""",
        Environment={"GO": str(tmp_path / "go")},
    )
    sandbox.until(lambda: "obsolete" in sandbox.keys("checkpoints/interrupted/"))
    (tmp_path / "go").touch()
    sandbox.until(lambda: "epoch.txt" in sandbox.keys("checkpoints/interrupted/"))
    sandbox.training.interrupt("interrupted")
    job = sandbox.finish("interrupted")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    once = ["Starting", "Downloading", "Training"]
    assert sandbox.states("interrupted") == [*once, "Interrupted", *once, "Uploading", "Completed"]
    found, scratch = json.loads(sandbox.artifact("interrupted")["found.json"])
    assert found == {"epoch.txt": "7", "farewell": "saved after SIGTERM", "from an earlier job.txt": "kept"}
    assert not scratch
    assert sandbox.keys("checkpoints/interrupted/") == ["epoch.txt", "farewell", "from an earlier job.txt"]
    waited = [t for t in job["SecondaryStatusTransitions"] if t["Status"] in ("Interrupted", "Starting")][1:]
    idle = sum((t["EndTime"] - t["StartTime"]).total_seconds() for t in waited)
    total = (job["TrainingEndTime"] - job["TrainingStartTime"]).total_seconds()
    assert job["TrainingTimeInSeconds"] <= total - idle + 1, "waiting for capacity is not training time"
    with pytest.raises(ServiceError, match="can't be interrupted: it is Completed"):
        sandbox.training.interrupt("interrupted")


def test_a_job_is_put_on_the_bill_once_with_its_billable_seconds_and_its_tags(sandbox: Sandbox) -> None:
    sandbox.account.bill = bill = Bill(sandbox.account)
    sandbox.start("billed", "print('done')")
    job = sandbox.finish("billed")
    sandbox.start("billed-too", "sys.exit(1)", EnableManagedSpotTraining=False, **NOT_ON_SPOT)
    failed = sandbox.finish("billed-too")
    assert failed["TrainingJobStatus"] == "Failed"
    (line,) = bill.lines()
    assert (line.usage_type, line.tags) == ("USE1-Train:ml.m5.xlarge", (("Project", "sandbox"),))
    seconds = job["BillableTimeInSeconds"] + failed["BillableTimeInSeconds"]
    assert line.usd == (Decimal("0.23") * seconds / 3600).quantize(Decimal("0.0000000001"))


def test_capacity_that_does_not_come_back_in_time_ends_the_job_as_stopped(sandbox: Sandbox) -> None:
    sandbox.start(
        "starved",
        "print('ready', flush=True)\ntime.sleep(60)",
        StoppingCondition={"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3600},
    )
    sandbox.until(lambda: "ready" in sandbox.log("starved"))
    sandbox.training.interrupt("starved")
    sandbox.training._jobs.find("starved").accepted -= 3600  # as if it had waited for an hour
    job = sandbox.finish("starved")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")


def test_a_manifest_brings_exactly_its_files(sandbox: Sandbox) -> None:
    manifest = [{"prefix": "s3://sandbox-data/datasets/one/"}, "first file+ü.csv", "deeper/second.csv"]
    sandbox.put("manifests/one.json", json.dumps(manifest).encode(), "sandbox-artifacts")
    sandbox.put("manifests/gone.json", json.dumps([manifest[0], "gone.csv"]).encode(), "sandbox-artifacts")
    sandbox.put("live/model.tar.gz", b"weights", "sandbox-artifacts")
    script = """
data = base / "input/data"
listed = sorted(str(p.relative_to(data)) for p in data.rglob("*") if p.is_file())
(model / "listed.json").write_text(json.dumps(listed))
"""

    def channel(name: str, kind: str, uri: str) -> dict[str, Any]:
        return {"ChannelName": name, "DataSource": {"S3DataSource": {"S3DataType": kind, "S3Uri": uri}}}

    one = channel("dataset", "ManifestFile", "s3://sandbox-artifacts/manifests/one.json")
    live = channel("live_model", "S3Prefix", "s3://sandbox-artifacts/live/model.tar.gz")
    gone = channel("dataset", "ManifestFile", "s3://sandbox-artifacts/manifests/gone.json")
    sandbox.start("manifest", script, InputDataConfig=[one, live])
    sandbox.start("manifest-gone", script, InputDataConfig=[gone])
    assert sandbox.finish("manifest")["TrainingJobStatus"] == "Completed"
    listed = json.loads(sandbox.artifact("manifest")["listed.json"])
    assert listed == ["dataset/deeper/second.csv", "dataset/first file+ü.csv", "live_model/model.tar.gz"]
    failed = sandbox.finish("manifest-gone")
    assert failed["TrainingJobStatus"] == "Failed"
    assert failed["FailureReason"].startswith("ClientError: Data download failed:404")


def test_of_ten_callers_with_one_name_one_starts_a_job(sandbox: Sandbox) -> None:
    request = sandbox.request("ten-callers", "pass")

    def call(_: int) -> str:
        try:
            return str(sandbox.training.create(dict(request))["TrainingJobArn"])
        except ServiceError as error:
            return error.code

    with ThreadPoolExecutor(10) as pool:
        answers = sorted(pool.map(call, range(10)))
    assert answers == ["ResourceInUse"] * 9 + ["arn:aws:sagemaker:us-east-1:123456789012:training-job/ten-callers"]
    assert sandbox.finish("ten-callers")["TrainingJobStatus"] == "Completed"


SPOT = "Invalid MaxWaitTimeInSeconds. It "


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"EnableManagedSpotTraining": False},
            SPOT + "is only supported when EnableManagedSpotTraining is set to true",
        ),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 60}}, SPOT + "must be present"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 59}}, SPOT + "must be present"),
        ({"RoleArn": "arn:aws:iam::123456789012:role/nobody"}, "Could not assume role .*role/nobody"),
        ({"RoleArn": "arn:aws:iam::123456789012:role/for-lambda"}, "Could not assume role .*role/for-lambda"),
        ({"OutputDataConfig": {"S3OutputPath": "s3://no-such-bucket/x"}}, "bucket .*no-such-bucket/x.* does not exist"),
        ({"CheckpointConfig": {"S3Uri": "s3://no-such-bucket/y"}}, "bucket .*no-such-bucket/y.* does not exist"),
        ({"OutputDataConfig": {"S3OutputPath": "https://sandbox-data/x"}}, "is not valid. Expected s3://"),
        ({"image": IMAGE.replace("us-east-1", "eu-west-1")}, "must be in the same region"),
        ({"image": IMAGE.replace("pytorch-training", "xgboost")}, "runs only AWS's pytorch-training and"),
        ({"image": "pytorch:latest"}, "Elastic Container Registry path"),
        (
            {"uri": "s3://sandbox-data/datasets/none/"},
            'No S3 objects found under S3 URL "s3://sandbox-data/datasets/none/"',
        ),
        ({"uri": "s3://no-such-bucket/"}, "No S3 objects found under S3 URL"),
        ({"ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 5}}, "trains on 1 to 4 instances"),
        ({"Tags": [{"Key": "aws:x", "Value": "y"}]}, "aws: prefixed tag key"),
    ],
)
def test_what_aws_refuses_is_refused_before_a_job_exists(
    sandbox: Sandbox, changes: dict[str, Any], message: str
) -> None:
    iam = sandbox.account.client("iam")
    if "for-lambda" in str(changes):
        trust = {**TRUST, "Principal": {"Service": "lambda.amazonaws.com"}}
        iam.create_role(RoleName="for-lambda", AssumeRolePolicyDocument=json.dumps({"Statement": [trust]}))
    request = sandbox.request("refused", "pass")
    if image := changes.pop("image", None):
        request["AlgorithmSpecification"]["TrainingImage"] = image
    if uri := changes.pop("uri", None):
        request["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = uri
    with pytest.raises(ServiceError, match=message) as refusal:
        sandbox.training.create({**request, **changes})
    assert refusal.value.code == "ValidationException"
    with pytest.raises(ServiceError, match="Requested resource not found"):
        sandbox.describe("refused")


def test_only_a_running_spot_job_can_be_interrupted(sandbox: Sandbox) -> None:
    sandbox.start(
        "on-demand", "time.sleep(30)", EnableManagedSpotTraining=None, StoppingCondition={"MaxRuntimeInSeconds": 60}
    )
    with pytest.raises(ServiceError, match="does not run on spot"):
        sandbox.training.interrupt("on-demand")
    sandbox.training.stop({"TrainingJobName": "on-demand"})
    with pytest.raises(ServiceError, match="not found"):
        sandbox.training.interrupt("nobody")
    assert sandbox.finish("on-demand")["TrainingJobStatus"] == "Stopped"


def test_lists_come_in_pages_newest_first(tmp_path: Path) -> None:
    with moto_account(tmp_path) as account:
        training = Training(account)
        for number in range(5):  # jobs without threads: only the listing matters here
            job = Job(
                {"TrainingJobName": f"job-{number}", "StoppingCondition": {}}, f"arn-{number}", account.clock.now()
            )
            job.status = "Completed" if number % 2 else "Failed"
            training._jobs.add(job, {}, lambda: None)
            time.sleep(0.002)

        def names(**parameters: Any) -> tuple[list[str], str | None]:
            answer = training.list(parameters)
            return [job["TrainingJobName"] for job in answer["TrainingJobSummaries"]], answer.get("NextToken")

        first, token = names(MaxResults=2)
        second, token = names(MaxResults=2, NextToken=token)
        third, none = names(MaxResults=2, NextToken=token)
        assert [*first, *second, *third] == ["job-4", "job-3", "job-2", "job-1", "job-0"]
        assert none is None
        assert names(NameContains="B-3") == (["job-3"], None)
        assert names(SortBy="Name", SortOrder="Ascending")[0][0] == "job-0"
        # The API reference: MaxResults are taken first, then filtered by StatusEquals.
        assert names(StatusEquals="Completed", MaxResults=2)[0] == ["job-3"]
        with pytest.raises(ServiceError, match="Invalid NextToken"):
            names(NextToken="made up")


def test_tags_can_be_added_listed_and_removed_on_any_resource_that_exists(tmp_path: Path) -> None:
    with moto_account(tmp_path) as account:
        install(account)
        operations = account.operations["sagemaker"]
        arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/anything"
        with pytest.raises(ServiceError, match="Could not find"):
            operations["ListTags"]({"ResourceArn": arn})
        account.tags[arn] = {"Owner": "ann"}
        operations["AddTags"](
            {"ResourceArn": arn, "Tags": [{"Key": "Owner", "Value": "bob"}, {"Key": "A", "Value": ""}]}
        )
        assert operations["ListTags"]({"ResourceArn": arn})["Tags"] == [
            {"Key": "Owner", "Value": "bob"},
            {"Key": "A", "Value": ""},
        ]
        operations["DeleteTags"]({"ResourceArn": arn, "TagKeys": ["Owner", "unknown"]})
        assert account.tags[arn] == {"A": ""}
        with pytest.raises(ServiceError, match="at most 50 tags"):
            operations["AddTags"](
                {"ResourceArn": arn, "Tags": [{"Key": f"k{number}", "Value": ""} for number in range(50)]}
            )


def test_closing_leaves_no_process_behind(sandbox: Sandbox) -> None:
    training = Training(sandbox.account)
    training.create(
        sandbox.request(
            "left",
            """
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
(base / "tmp/pids").write_text(f"{os.getpid()} {child.pid}")
time.sleep(60)
""",
        )
    )
    pids = sandbox.account.home / "training/left/1/algo-1/ml/tmp/pids"
    sandbox.until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    numbers = [int(pid) for pid in pids.read_text().split()]
    assert all(map(alive, numbers))
    training.close()
    sandbox.until(lambda: not any(map(alive, numbers)))


@pytest.mark.parametrize(
    ("instance_type", "spot", "seconds", "expected"),
    [
        ("ml.m5.xlarge", True, 99.2, (100, 34)),
        ("ml.c5.xlarge", True, 100.0, (100, 43)),
        ("ml.p3.2xlarge", True, 10.0, (10, 3)),
        ("ml.m5.xlarge", False, 99.2, (100, 100)),
        ("ml.m5.xlarge", True, 1.2, (2, 1)),
    ],
)
def test_spot_bills_less_than_it_trains(
    tmp_path: Path, instance_type: str, spot: bool, seconds: float, expected: tuple[int, int]
) -> None:
    with moto_account(tmp_path) as account:
        request = {"EnableManagedSpotTraining": spot, "ResourceConfig": {"InstanceType": instance_type}}
        job = Job(request, "arn", account.clock.now(), training_seconds=seconds)
        assert billed(job) == expected


def test_a_reason_keeps_its_exit_code_however_long_the_words_are() -> None:
    reason = failure_reason("x" * 5000, 137)
    assert len(reason) == 1024
    assert reason.endswith("xxx, exit code: 137")


def test_a_wish_to_stop_is_seen_once(tmp_path: Path) -> None:
    with moto_account(tmp_path) as account:
        job = Job({"TrainingJobName": "x", "StoppingCondition": {}}, "arn", account.clock.now())
        training = Training(account)
        job.ask(Ending.STOP)
        assert training._asked(job) is Ending.STOP
        assert training._asked(job) is None


def test_a_role_that_may_not_write_the_results_fails_the_job_by_name() -> None:
    # The last of this file: the laptop starts with an empty moto, and so would the tests after it.
    with running() as account:
        sandbox = Sandbox(account)
        reads = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
        account.client("iam").put_role_policy(
            RoleName="training",
            PolicyName="reads",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [reads]}),
        )
        sagemaker = account.client("sagemaker")
        script = "print('train_loss=0.5')\n(model / 'weights').write_text('x')"
        sagemaker.create_training_job(**sandbox.request("may-not-write", script))
        with pytest.raises(sagemaker.exceptions.ResourceInUse):
            sagemaker.create_training_job(**sandbox.request("may-not-write", script))
        sandbox.until(
            lambda: sagemaker.describe_training_job(TrainingJobName="may-not-write")["TrainingJobStatus"] in ENDED
        )
        job = sagemaker.describe_training_job(TrainingJobName="may-not-write")
        assert job["FailureReason"].startswith("ClientError: Artifact upload failed:")
        assert "s3:PutObject" in job["FailureReason"]
        assert job["FinalMetricDataList"][0]["Value"] == 0.5, "metrics are found though the role may not write them"


def test_several_instances_know_one_another_and_are_logged_apart(sandbox: Sandbox) -> None:
    """Each has a folder of its own and, of a channel sharded by key, its part of the files."""
    request = sandbox.request("several")
    source = request["InputDataConfig"][0]["DataSource"]["S3DataSource"]
    source["S3DataDistributionType"] = "ShardedByS3Key"
    sandbox.start(
        "several",
        """
channel = pathlib.Path(os.environ["SM_CHANNEL_DATASET"])
files = sorted(path.name for path in channel.rglob("*") if path.is_file())
print(f"{os.environ['SM_CURRENT_HOST']} of {json.loads(os.environ['SM_HOSTS'])} has {files}", flush=True)
if os.environ["SM_CURRENT_HOST"] == "algo-1":
    (model / "weights").write_text("of the first")
""",
        InputDataConfig=request["InputDataConfig"],
        ResourceConfig={**request["ResourceConfig"], "InstanceCount": 2},
    )
    job = sandbox.finish("several")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert sandbox.artifact("several") == {"weights": b"of the first"}
    both = "of ['algo-1', 'algo-2'] has"
    assert [line for line in sandbox.log("several") if both in line] == [f"algo-1 {both} ['job.json', 'second.csv']"]
    assert [line for line in sandbox.log("several", "algo-2") if both in line] == [
        f"algo-2 {both} ['first file+ü.csv']"
    ]


ONE_OF_TWO = """
host = os.environ["SM_CURRENT_HOST"]
def stop(*_):
    if host == "algo-1":
        (checkpoints / "state").write_text("saved")
    print(f"{host} was told to stop", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
if (checkpoints / "state").exists():
    (model / host).write_text("resumed")
    sys.exit(0)
print(f"{host} waits", flush=True)
time.sleep(60)
"""


def test_an_interruption_takes_all_instances_and_all_find_the_checkpoint_again(sandbox: Sandbox) -> None:
    resources = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 5}
    sandbox.start("taken", ONE_OF_TWO, ResourceConfig=resources)
    sandbox.until(lambda: all(f"{host} waits" in sandbox.log("taken", host) for host in ("algo-1", "algo-2")))
    sandbox.training.interrupt("taken")
    job = sandbox.finish("taken")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert "Interrupted" in sandbox.states("taken")
    assert "algo-2 was told to stop" in sandbox.log("taken", "algo-2")
    assert sandbox.artifact("taken") == {"algo-1": b"resumed"}


def test_when_one_instance_fails_the_job_fails_with_its_sentence_and_the_others_end(sandbox: Sandbox) -> None:
    sandbox.start(
        "one-fails",
        """
if os.environ["SM_CURRENT_HOST"] == "algo-2":
    (base / "output/failure").write_text("The second disk is full.")
    sys.exit(3)
time.sleep(60)
""",
        ResourceConfig={"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 5},
    )
    job = sandbox.finish("one-fails")
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: The second disk is full., exit code: ")
    folders = [sandbox.account.home / f"training/one-fails/1/{host}/ml" for host in ("algo-1", "algo-2")]
    sandbox.until(lambda: not any(folder.exists() for folder in folders))
