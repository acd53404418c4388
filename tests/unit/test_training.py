"""A settled drop becomes one request, or a reason. Pure: no AWS."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

import builders
from builders import arrived, drop, stored
from laptop.service_model import validate
from mlplatform import names
from mlplatform.decisions import RejectDataset, StartTraining
from mlplatform.facts import Endpoint, Serving
from mlplatform.training import plan_training, skip_drop


def started(*, live: Endpoint | None = None, job_json: Any = None, content: bytes | None = None, **changed: Any) -> Any:
    serving = Serving(live) if live else None
    decision = plan_training(drop(content, job_json=job_json), serving, builders.settings(**changed))
    assert isinstance(decision, StartTraining), decision.reason
    return decision


@pytest.mark.parametrize(
    ("key", "etag", "others", "verdict", "said"),
    [
        ("datasets/churn/data.csv", "e1", [], False, None),
        ("datasets/churn/data.csv", "e1", [], True, "already has its verdict"),
        ("datasets/churn/data.csv", "old", [], False, "overwritten"),
        ("datasets/churn/gone.csv", "e1", [], False, "no longer there"),
        ("datasets/churn/data.csv", "e1", [("datasets/churn/more.csv", 1)], False, "more.csv arrived later"),
        ("datasets/churn/data.csv", "e1", [("datasets/churn/more.csv", -1)], False, None),
        ("datasets/churn/data.csv", "e1", [("datasets/churn/more.csv", 0)], False, "more.csv arrived later"),
        ("datasets/churn/data.csv", "e1", [("datasets/churn/a.csv", 0)], False, None),
    ],
)
def test_the_event_of_the_newest_object_decides_and_the_others_say_why_not(
    key: str, etag: str, others: list[tuple[str, int]], verdict: bool, said: str | None
) -> None:
    objects = (stored(), *(stored(other, at=at) for other, at in others))
    skip = skip_drop(arrived(key, etag=etag), objects, verdict)
    assert (skip is None) if said is None else (skip is not None and said in skip.reason)


@pytest.mark.parametrize("live", [None, builders.endpoint()])
@pytest.mark.parametrize(
    "job_json",
    [None, {"task": "multiclass"}, {"instance_type": "ml.g4dn.xlarge"}, {"hosting": {"instance_type": "ml.m5.large"}}],
)
@pytest.mark.parametrize("region", ["us-east-1", "eu-south-2", "cn-north-1"])
def test_the_request_is_one_that_sagemaker_accepts(live: Endpoint | None, job_json: Any, region: str) -> None:
    request = started(live=live, job_json=job_json, aws_region=region).request
    assert validate("sagemaker", "CreateTrainingJob", request) == []


def test_an_unknown_member_of_the_request_would_be_found() -> None:
    request = {**started().request, "EnableSpot": True}
    assert validate("sagemaker", "CreateTrainingJob", request) == ["Unknown parameter 'enableSpot'"]


@pytest.mark.parametrize("seconds", [(60, 60), (3600, 7200), (86_400, 172_800)])
def test_the_job_is_on_spot_bounded_and_waits_at_least_as_long_as_it_runs(seconds: tuple[int, int]) -> None:
    request = started(training_max_runtime_seconds=seconds[0], training_max_wait_seconds=seconds[1]).request
    assert request["EnableManagedSpotTraining"] is True
    limits = request["StoppingCondition"]
    assert (limits["MaxRuntimeInSeconds"], limits["MaxWaitTimeInSeconds"]) == seconds
    assert limits["MaxWaitTimeInSeconds"] >= limits["MaxRuntimeInSeconds"]


def test_each_version_of_data_and_of_code_has_a_checkpoint_prefix_of_its_own() -> None:
    prefixes = {
        started(content=content, model_code_digest=digest).request["CheckpointConfig"]["S3Uri"]
        for content in (builders.csv(40), builders.csv(41))
        for digest in ("a" * 64, "b" * 64)
    }
    assert len(prefixes) == 4


def test_the_job_carries_the_required_tags_and_what_it_belongs_to() -> None:
    decision = started(job_json={"hosting": {"min_instances": 2, "instance_type": "ml.m5.large"}})
    tags = {tag["Key"]: tag["Value"] for tag in decision.request["Tags"]}
    assert tags == {
        "Project": "ml-platform",
        "Environment": "dev",
        "CostCenter": "machine-learning",
        "Owner": "ml-team",
        "ml-platform:stack": "ml-platform",
        "ml-platform:dataset": "churn",
        "ml-platform:version": decision.version,
        "ml-platform:hosting": "instance_type=ml.m5.large min_instances=2",
    }  # fmt: skip


@pytest.mark.parametrize(("approval", "tag"), [("manual", "manual"), ("automatic", None)])
def test_a_wish_for_a_persons_approval_travels_with_the_job(approval: str, tag: str | None) -> None:
    decision = started(job_json={"approval": approval})
    tags = {tag["Key"]: tag["Value"] for tag in decision.request["Tags"]}
    assert tags.get("ml-platform:approval") == tag


def test_the_live_model_is_an_input_so_that_both_are_scored_on_the_same_rows() -> None:
    channels = started(live=builders.endpoint()).request["InputDataConfig"]
    assert [channel["ChannelName"] for channel in channels] == ["dataset", "live_model"]
    assert channels[1]["DataSource"]["S3DataSource"]["S3Uri"] == builders.LIVE_ARTIFACT
    assert [channel["ChannelName"] for channel in started().request["InputDataConfig"]] == ["dataset"]


def test_the_script_gets_its_arguments_as_the_toolkit_reads_them() -> None:
    from sagemaker_training import mapping

    request = started(job_json={"hyperparameters": {"epochs": 3, "learning_rate": 0.01}}).request
    read = {}
    for name, value in request["HyperParameters"].items():
        try:
            read[name] = json.loads(value)
        except ValueError:
            read[name] = value
    arguments = mapping.to_cmd_args({name: value for name, value in read.items() if not name.startswith("sagemaker_")})
    pairs = dict(zip(arguments[::2], map(str, arguments[1::2]), strict=True))
    assert pairs == {
        "--label_column": "2",
        "--header": "true",
        "--delimiter": "comma",
        "--encoding": "utf-8",
        "--task": "binary",
        "--epochs": "3",
        "--learning_rate": "0.01",
    }
    assert read["sagemaker_program"] == "train.py"
    assert read["sagemaker_submit_directory"] == builders.settings().model_code_uri


LOG = """\
epoch=3 train_loss=0.123456 validation_loss=2.3e-05 validation_accuracy=0.91 learning_rate=0.001
test_accuracy=0.9375 test_roc_auc=0.99 test_log_loss=1
"""


def test_the_metric_definitions_read_what_the_script_prints() -> None:
    found = {}
    for definition in started().request["AlgorithmSpecification"]["MetricDefinitions"]:
        match = re.search(definition["Regex"], LOG, re.MULTILINE)
        assert match, definition
        found[definition["Name"]] = match.group(1)
    assert found == {
        "train:loss": "0.123456",
        "validation:loss": "2.3e-05",
        "learning_rate": "0.001",
        "validation:accuracy": "0.91",
        "test:accuracy": "0.9375",
        "test:roc_auc": "0.99",
        "test:log_loss": "1",
    }


@pytest.mark.parametrize("printed", ["nan", "inf", "-inf"])
def test_what_is_no_number_is_no_metric(printed: str) -> None:
    for definition in started().request["AlgorithmSpecification"]["MetricDefinitions"]:
        assert not re.search(definition["Regex"], re.sub(r"=[-+.0-9e]+", f"={printed}", LOG), re.MULTILINE)


def test_a_number_to_predict_has_the_metrics_of_one() -> None:
    rows = "".join(f"{n},{n * 1.5}\n" for n in range(60)).encode()
    definitions = started(content=b"x,target\n" + rows).request["AlgorithmSpecification"]["MetricDefinitions"]
    assert {definition["Name"] for definition in definitions} >= {"validation:rmse", "test:rmse", "test:mae", "test:r2"}


def test_the_volume_holds_the_data_many_times_over() -> None:
    """10 GiB at least, and ten times the data: 3 GiB make 40."""
    small = drop()
    big = replace(small, objects=tuple(replace(one, size_bytes=3 * 1024**3) for one in small.objects))
    decision = plan_training(big, None, builders.settings())
    assert isinstance(decision, StartTraining)
    assert decision.request["ResourceConfig"]["VolumeSizeInGB"] == 40
    assert started().request["ResourceConfig"]["VolumeSizeInGB"] == 11


@pytest.mark.parametrize("instance_type", ["ml.t2.medium", "ml.c5.large", "ml.m5.huge", "m5.xlarge"])
def test_no_job_is_made_for_an_instance_type_that_does_not_train(instance_type: str) -> None:
    decision = plan_training(drop(job_json={"instance_type": instance_type}), None, builders.settings())
    assert isinstance(decision, RejectDataset)
    assert instance_type in decision.reason


def test_the_longest_names_still_make_a_legal_job() -> None:
    stack = "s" * 29
    dataset = "d" * names.longest_dataset(stack)
    key = f"datasets/{dataset}/data.csv"
    decision = plan_training(drop(key=key), None, builders.settings(stack_name=stack))
    assert isinstance(decision, StartTraining)
    assert len(decision.job_name) == 63
    assert validate("sagemaker", "CreateTrainingJob", decision.request) == []
    longer = plan_training(drop(key=f"datasets/{dataset}d/data.csv"), None, builders.settings(stack_name=stack))
    assert isinstance(longer, RejectDataset)


def test_several_instances_train_under_torchrun_on_all_the_data_and_encrypt_what_they_say() -> None:
    decision = started(job_json={"instance_count": 3}, training_max_runtime_seconds=3600)
    request = decision.request
    assert validate("sagemaker", "CreateTrainingJob", request) == []
    assert request["ResourceConfig"]["InstanceCount"] == 3
    assert request["HyperParameters"]["sagemaker_torch_distributed_enabled"] == "true"
    assert request["EnableInterContainerTrafficEncryption"] is True
    for channel in request["InputDataConfig"]:
        assert channel["DataSource"]["S3DataSource"]["S3DataDistributionType"] == "FullyReplicated"
    # 3 x 1 hour x 0.23 USD
    assert "runs on 3 x ml.m5.xlarge spot, which share its rows, for at most 3600 seconds (at most 0.69 USD" in (
        decision.reason
    )


def test_one_instance_needs_no_torchrun() -> None:
    request = started().request
    assert "sagemaker_torch_distributed_enabled" not in request["HyperParameters"]
    assert request["EnableInterContainerTrafficEncryption"] is False
