"""A pipeline from the drop to its execution's end: what each function asks of SageMaker, and does about it. On moto."""

from __future__ import annotations

import json
from typing import Any

import pytest
from trained_account import train

import builders
from builders import JOB, NOON, Account
from deploy_model import finish_pipeline
from mlplatform import events
from mlplatform.decisions import Decision, HoldDataset, Notify, RecordLineage, Refuse, Skip, StartPipeline
from mlplatform.errors import AwsError
from start_training import start_pipeline, start_training

ARTIFACTS = "ml-platform-artifacts"
ARN = f"arn:aws:sagemaker:{builders.REGION}:123456789012"
EXECUTION = f"{ARN}:pipeline/ml-platform-xgboost/execution/p4jn9xou8a8s"
PACKAGE = f"{ARN}:model-package/ml-platform-churn/1"


def pipelines_of(account: Account) -> list[dict[str, Any]]:
    """moto's pipelines know no tokens: this one refuses other parameters under the same, as AWS does."""
    started: list[dict[str, Any]] = []

    def start(parameters: dict[str, Any]) -> dict[str, Any]:
        for earlier in started:
            if earlier["ClientRequestToken"] == parameters["ClientRequestToken"]:
                if earlier != parameters:
                    raise AwsError("sagemaker", "StartPipelineExecution", "ConflictException", "used before")
                return {"PipelineExecutionArn": EXECUTION}
        started.append(dict(parameters))
        return {"PipelineExecutionArn": EXECUTION}

    account.answers["start_pipeline_execution"] = start
    return started


def dropped(account: Account, **wish: Any) -> list[dict[str, Any]]:
    """The events of a drop that asks for trees."""
    return [
        account.put("datasets/churn/job.json", json.dumps({"algorithm": "xgboost", **wish}).encode()),
        account.put("datasets/churn/train.csv", builders.csv()),
    ]


def handle(account: Account, event: dict[str, Any]) -> Decision:
    return start_training(account.app(), events.dataset_arrived(event))


def test_ten_copies_of_a_drops_events_start_one_execution_and_its_verdict_names_it(account: Account) -> None:
    started = pipelines_of(account)
    decisions = [handle(account, event) for event in dropped(account) * 10]
    [decision] = [one for one in decisions if isinstance(one, StartPipeline)]
    [request] = started
    assert request["PipelineExecutionDisplayName"] == decision.job_name
    verdict = account.document(f"verdicts/churn/{decision.version}.json")
    assert (verdict["verdict"], verdict["job_name"]) == ("accepted", decision.job_name)
    assert verdict["pipeline"] == "ml-platform-xgboost"
    manifest = account.document(f"manifests/churn/{decision.version}.json", ARTIFACTS)
    assert manifest == [{"prefix": "s3://ml-platform-data/datasets/churn/"}, "train.csv"]
    group = account.client("sagemaker").describe_model_package_group(ModelPackageGroupName="ml-platform-churn")
    tags = account.client("sagemaker").list_tags(ResourceArn=group["ModelPackageGroupArn"])["Tags"]
    assert {"Key": "ml-platform:dataset", "Value": "churn"} in tags
    assert account.called("create_training_job") == []


def test_a_function_that_died_before_the_verdict_finds_its_execution_although_another_model_is_live_now(
    account: Account,
) -> None:
    started = pipelines_of(account)
    [_, event] = dropped(account)
    broken = AwsError("s3", "PutObject", "InternalError", "We encountered an internal error")

    def put(parameters: dict[str, Any]) -> None:
        if parameters["Key"].startswith("verdicts/"):
            raise broken

    account.answers["put_object"] = put
    with pytest.raises(AwsError):
        handle(account, event)
    del account.answers["put_object"]
    started[0]["PipelineParameters"] = [{"Name": "LiveModelUri", "Value": "s3://ml-platform-artifacts/other.tar.gz"}]
    second = handle(account, event)
    assert isinstance(second, Skip)
    assert "was started already" in second.reason
    assert len(account.keys("ml-platform-data", "verdicts/")) == 1


def asked(account: Account, dataset: str = "churn", **parameters: Any) -> Decision:
    event = {"start_pipeline": {"dataset": dataset, "parameters": parameters, "stamp": "2026-11-28T12:00:00+00:00"}}
    found = events.pipeline_asked(event)
    assert found is not None
    return start_pipeline(account.app(), found)


def test_a_person_starts_one_beside_the_drops_and_no_verdict_is_changed(account: Account) -> None:
    started = pipelines_of(account)
    first = [handle(account, event) for event in dropped(account)][-1]
    before = account.keys("ml-platform-data", "verdicts/")
    again = asked(account, ApprovalStatus="PendingManualApproval")
    assert isinstance(first, StartPipeline)
    assert isinstance(again, StartPipeline)
    assert len({request["ClientRequestToken"] for request in started}) == 2
    assert account.document(before[0])["job_name"] == first.job_name
    assert account.keys("ml-platform-data", "verdicts/") == before


@pytest.mark.parametrize(
    ("dataset", "parameters", "said"),
    [
        ("churn", {"LeastScor": 1}, "the pipeline parameter 'LeastScor', which does not exist"),
        ("nothing", {}, "There is no data under datasets/nothing/"),
        ("No Such", {}, "There can be no dataset No Such"),
    ],
)
def test_what_a_person_can_not_start_is_refused_in_words_and_rejects_no_data(
    account: Account, dataset: str, parameters: Any, said: str
) -> None:
    started = pipelines_of(account)
    dropped(account)
    decision = asked(account, dataset, **parameters)
    assert isinstance(decision, Refuse)
    assert said in decision.reason
    assert started == []
    assert account.keys("ml-platform-data", "verdicts/") == []
    assert account.alerts() == []


def test_a_hold_on_launches_holds_a_pipeline_and_a_persons_start(account: Account) -> None:
    started = pipelines_of(account)
    month = account.app().aws.now().strftime("%Y-%m")
    document = {"period": month, "reason": "The month's ceiling is reached.", "since": NOON.isoformat()}
    account.put("spend/hold.json", json.dumps(document).encode(), ARTIFACTS)
    assert isinstance([handle(account, event) for event in dropped(account)][-1], HoldDataset)
    by_hand = asked(account)
    assert isinstance(by_hand, Refuse)
    assert "The month's ceiling is reached." in by_hand.reason
    assert started == []


# ---- the execution's end ----


def ended(account: Account, status: str, *steps: dict[str, Any], given: dict[str, str] | None = None) -> dict[str, Any]:
    """What deploy-model says to the event of an execution that has these steps."""
    account.answers["update_model_package"] = {}
    parameters = {"Dataset": "churn", "ModelName": JOB} if given is None else given
    account.answers |= {
        "describe_pipeline_execution": {
            "PipelineArn": f"{ARN}:pipeline/ml-platform-xgboost",
            "PipelineExecutionDisplayName": JOB,
            "PipelineExecutionStatus": status,
            "CreationTime": NOON,
        },
        "list_pipeline_execution_steps": {"PipelineExecutionSteps": list(steps)},
        "list_pipeline_parameters_for_execution": {
            "PipelineParameters": [{"Name": name, "Value": value} for name, value in parameters.items()]
        },
    }
    event = builders.sample_event("sagemaker_pipeline_execution_status_change")
    event["detail"] |= {"currentPipelineExecutionStatus": status, "pipelineExecutionArn": EXECUTION}
    decision = finish_pipeline(account.app(), events.pipeline_ended(event))
    return {"decision": type(decision), "reason": decision.reason}


def step(name: str, kind: str, arn: str, status: str = "Succeeded", **more: Any) -> dict[str, Any]:
    return {"StepName": name, "StepStatus": status, "StartTime": NOON, "Metadata": {kind: {"Arn": arn}}, **more}


TRAINED = step("TrainXgboost", "TrainingJob", f"{ARN}:training-job/{JOB}")
REGISTERED = step("Register-RegisterModel", "RegisterModel", PACKAGE)


def test_what_a_step_saved_on_spot_is_written_down_once_and_the_model_is_left_to_its_own_event(
    account: Account,
) -> None:
    train(account, TrainingTimeInSeconds=100, BillableTimeInSeconds=30, TrainingEndTime=NOON)
    for _ in range(2):
        said = ended(account, "Succeeded", TRAINED, REGISTERED)
        assert said["decision"] is RecordLineage
        assert PACKAGE in said["reason"]
    assert len(account.keys(ARTIFACTS, "ledger/2026-11/")) == 1
    assert account.called("create_model_package") == []
    update = account.called("update_model_package")[0]
    assert update["ModelPackageArn"] == PACKAGE
    assert update["CustomerMetadataProperties"]["training_usd"] == "0.0019"  # 30 s of an hour at 0.23


def test_a_step_that_came_from_the_cache_saved_nothing_again(account: Account) -> None:
    train(account, TrainingTimeInSeconds=100, BillableTimeInSeconds=30, TrainingEndTime=NOON)
    cached = {**TRAINED, "CacheHitResult": {"SourcePipelineExecutionArn": EXECUTION}}
    ended(account, "Succeeded", cached, REGISTERED)
    assert account.keys(ARTIFACTS, "ledger/") == []


def test_a_failure_is_told_once_with_the_step_and_what_its_program_wrote(account: Account) -> None:
    account.answers["describe_processing_job"] = {"ExitMessage": "train.csv, line 3: 'x' is no number."}
    job = f"{ARN}:processing-job/ml-platform-prepare-p4jn9xou8a8s-x"
    failed = step("Prepare", "ProcessingJob", job, "Failed", FailureReason="AlgorithmError: exit code: 1")
    assert ended(account, "Failed", failed)["decision"] is Notify
    assert ended(account, "Failed", failed)["decision"] is Skip
    [alert] = account.alerts()
    assert "failed in its step Prepare: train.csv, line 3: 'x' is no number." in alert["Message"]


def test_an_execution_without_a_dataset_is_nobodys(account: Account) -> None:
    assert ended(account, "Failed", given={})["decision"] is Skip


def test_the_handler_knows_an_executions_event_from_the_others() -> None:
    event = builders.sample_event("sagemaker_pipeline_execution_status_change")
    assert events.is_pipeline_end(event)
    assert not events.is_pipeline_end(builders.sample_event("sagemaker_training_job_state_change"))
    assert events.pipeline_ended(event).execution_arn.endswith("/execution/p4jn9xou8a8s")
