"""The built-in XGBoost on the laptop: a training job of its image, and what the image refuses."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import xgboost
from moto_over_http import moto_account

from laptop import service_model, xgboost_container
from laptop.account import Account
from laptop.errors import ServiceError
from laptop.training import Training

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.0-5"
TRUST = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
USUAL = {"objective": "binary:logistic", "eval_metric": "logloss", "num_round": "5", "max_depth": "2", "nthread": "1"}


def rows(seed: int, count: int = 200) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A label, which is whether the first of two numbers is above 0, and the numbers; a tenth of the second is gone."""
    random = np.random.default_rng(seed)
    numbers = random.standard_normal((count, 2)).round(3)
    numbers[random.random(count) < 0.1, 1] = np.nan
    return np.column_stack((numbers[:, 0] > 0, numbers))


def csv(table: np.ndarray[Any, Any]) -> bytes:
    lines = [",".join("" if value != value else f"{value:g}" for value in row) for row in table]  # noqa: PLR0124
    return ("\n".join(lines) + "\n").encode()


class Sandbox:
    """An account with a bucket, a role, and training data in it."""

    def __init__(self, account: Account) -> None:
        self.s3 = account.client("s3")
        self.training = Training(account, grace_seconds=1.0)
        account.closers.append(self.training.close)
        self.s3.create_bucket(Bucket="sandbox")
        trust = json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})
        iam = account.client("iam")
        self.role = iam.create_role(RoleName="xgboost", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        for key, body in {
            "train/train.csv": csv(rows(1)),
            "validation/validation.csv": csv(rows(2)),
            "header/train.csv": b"label,a,b\n" + csv(rows(1)),
        }.items():
            self.s3.put_object(Bucket="sandbox", Key=key, Body=body)

    def request(self, name: str, **changes: Any) -> dict[str, Any]:
        request: dict[str, Any] = {
            "TrainingJobName": name,
            "RoleArn": self.role,
            "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
            "HyperParameters": USUAL,
            "InputDataConfig": [channel("train"), channel("validation")],
            "OutputDataConfig": {"S3OutputPath": "s3://sandbox/out/"},
            "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 5},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 120},
            "EnableManagedSpotTraining": True,
            "CheckpointConfig": {"S3Uri": f"s3://sandbox/checkpoints/{name}/", "LocalPath": "/opt/ml/checkpoints"},
        }
        return {key: value for key, value in {**request, **changes}.items() if value is not None}

    def start(self, name: str, **changes: Any) -> None:
        request = self.request(name, **changes)
        assert service_model.validate("sagemaker", "CreateTrainingJob", request) == []
        self.training.create(request)

    def describe(self, name: str) -> dict[str, Any]:
        return self.training.describe({"TrainingJobName": name})

    def finish(self, name: str) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while (job := self.describe(name))["TrainingJobStatus"] in ("InProgress", "Stopping"):
            assert time.monotonic() < deadline, f"{name} did not end"
            time.sleep(0.02)
        return job

    def model(self, job: dict[str, Any]) -> xgboost.Booster:
        key = job["ModelArtifacts"]["S3ModelArtifacts"].split("/", 3)[3]
        body = self.s3.get_object(Bucket="sandbox", Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            assert tar.getnames() == ["xgboost-model"]
            content = tar.extractfile("xgboost-model")
            assert content is not None
            booster = xgboost.Booster()
            booster.load_model(bytearray(content.read()))
        return booster


def channel(name: str, folder: str | None = None, content_type: str | None = "text/csv") -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://sandbox/{folder or name}/"}
    kind = {"ContentType": content_type} if content_type else {}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, **kind}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with moto_account(tmp_path_factory.mktemp("home")) as account:
        yield Sandbox(account)


def test_a_job_of_the_image_leaves_a_booster_its_predefined_metrics_and_checkpoints(sandbox: Sandbox) -> None:
    sandbox.start("whole")
    job = sandbox.finish("whole")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    booster = sandbox.model(job)
    assert booster.num_boosted_rounds() == 5
    table = rows(3)
    right = (booster.predict(xgboost.DMatrix(table[:, 1:])) > 0.5) == (table[:, 0] > 0)
    assert right.mean() > 0.95
    metrics = {one["MetricName"]: one["Value"] for one in job["FinalMetricDataList"]}
    assert metrics.keys() == {"train:logloss", "validation:logloss"}
    assert 0 < metrics["validation:logloss"] < 0.5
    assert {one["Name"] for one in job["AlgorithmSpecification"]["MetricDefinitions"]} >= metrics.keys()
    kept = sandbox.s3.list_objects_v2(Bucket="sandbox", Prefix="checkpoints/whole/")["Contents"]
    assert sorted(one["Key"][-2:] for one in kept) == [".0", ".1", ".2", ".3", ".4"]

    # Another job on the same checkpoints goes on from them, and stops early by the validation rows.
    more = USUAL | {"num_round": "2000", "early_stopping_rounds": "3", "eta": "1"}
    sandbox.start("on", CheckpointConfig={"S3Uri": "s3://sandbox/checkpoints/whole/"}, HyperParameters=more)
    on = sandbox.finish("on")
    assert on["TrainingJobStatus"] == "Completed", on.get("FailureReason")
    assert 5 < sandbox.model(on).num_boosted_rounds() < 500


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        (USUAL | {"epochs": "3"}, "Extraneous hyperparameter found: epochs"),
        ({"max_depth": "3"}, "Missing required hyperparameter: num_round"),
        (USUAL | {"eta": "1.5"}, r"Hyperparameter eta: 1.5 is not in \[0, 1\]"),
        (USUAL | {"subsample": "0"}, r"Hyperparameter subsample: 0 is not in \(0, 1\]"),
        (USUAL | {"num_round": "many"}, "Hyperparameter num_round: could not parse value"),
        (USUAL | {"eval_metric": "logloss,best"}, r"Hyperparameter eval_metric: value \['best'\] not in range"),
        (USUAL | {"objective": "multi:softprob"}, "Require input for parameter 'num_class'"),
    ],
)
def test_a_hyperparameter_that_the_image_does_not_take_is_refused(wishes: dict[str, str], reason: str) -> None:
    with pytest.raises(xgboost_container.UserError, match=reason):
        xgboost_container.hyperparameters(wishes)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"validation": {}}, "Missing required channel: train"),
        ({"train": {"ContentType": "text/csv"}, "test": {}}, "Extraneous channel found: test"),
        ({"train": {}}, "text/libsvm is not an accepted ContentType"),
    ],
)
def test_a_channel_that_the_image_does_not_take_is_refused(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(xgboost_container.UserError, match=reason):
        xgboost_container.channels(config)


def test_what_is_refused_fails_the_job_with_its_sentence(sandbox: Sandbox) -> None:
    sandbox.start("header", InputDataConfig=[channel("train", "header")])
    job = sandbox.finish("header")
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: Failed to load csv data with exception:\ntrain.csv")
    assert "ModelArtifacts" not in job


def test_the_metrics_of_a_built_in_algorithm_are_not_the_callers_to_define(sandbox: Sandbox) -> None:
    algorithm = {
        "TrainingImage": IMAGE,
        "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "a", "Regex": "b=(.*)"}],
    }
    with pytest.raises(ServiceError, match="You can't override the metric definitions"):
        sandbox.training.create(sandbox.request("defined", AlgorithmSpecification=algorithm))
