"""A training job's end registers and deploys, keeps, or tells. On moto."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from trained_account import ARTIFACTS, better_than, deploy_first, end, endpoint, endpoint_tags, packages, train

import builders
from builders import JOB, LIVE_JOB, Account
from mlplatform import names
from mlplatform.decisions import AskApproval, DeployModel, KeepLiveModel, Notify, Skip
from mlplatform.errors import AwsError, TryAgain


def test_the_first_good_model_is_registered_and_deployed_with_its_card_and_tags(account: Account) -> None:
    train(account, TrainingTimeInSeconds=300, BillableTimeInSeconds=100)
    decision = end(account)
    assert isinstance(decision, DeployModel)
    assert "67% saved" in decision.reason
    assert endpoint(account)["EndpointConfigName"] == JOB
    assert endpoint_tags(account).items() >= {
        "Project": "ml-platform",
        "Environment": "dev",
        "CostCenter": "machine-learning",
        "Owner": "ml-team",
        "ml-platform:dataset": "churn",
        names.WANTED_TAG: JOB,
        names.ASKED_TAG: JOB,
    }.items()  # fmt: skip
    [package] = packages(account)
    assert package["ModelApprovalStatus"] == "Approved"
    assert package["CustomerMetadataProperties"]["training_job"] == JOB
    assert package["CustomerMetadataProperties"]["test_roc_auc"] == "0.900000"
    card = account.document(f"models/churn/{JOB}/metrics.json", ARTIFACTS)
    assert card == builders.metrics_json()
    assert account.document(f"models/churn/{JOB}/sample.json", ARTIFACTS) == builders.SAMPLE_JSON


def test_an_event_that_comes_again_changes_nothing(account: Account) -> None:
    train(account)
    end(account)
    account.alerts()
    account.calls.clear()
    assert isinstance(end(account), Skip)
    assert len(packages(account)) == 1
    assert [name for name, _ in account.calls if name.startswith(("create", "update", "put", "publish"))] == []


def test_a_better_model_updates_the_endpoint_and_keeps_its_instance_count(account: Account) -> None:
    live = deploy_first(account)
    train(account, metrics=better_than(0.8), live=live)
    assert isinstance(end(account), DeployModel)
    assert endpoint(account)["EndpointConfigName"] == JOB
    [update] = account.called("update_endpoint")
    assert update["RetainAllVariantProperties"] is True
    assert endpoint_tags(account)[names.WANTED_TAG] == JOB
    assert endpoint_tags(account)[names.ASKED_TAG] == JOB
    assert [package["ModelApprovalStatus"] for package in packages(account)] == ["Approved", "Approved"]


def test_a_worse_model_is_registered_as_rejected_and_kept_out(account: Account) -> None:
    live = deploy_first(account)
    train(account, metrics=better_than(0.95), live=live)
    decision = end(account)
    assert isinstance(decision, KeepLiveModel)
    assert "0.9500" in decision.reason
    assert endpoint(account)["EndpointConfigName"] == LIVE_JOB
    assert sorted(package["ModelApprovalStatus"] for package in packages(account)) == ["Approved", "Rejected"]


@pytest.mark.parametrize("status", ["Creating", "Updating", "SystemUpdating", "RollingBack"])
def test_a_model_that_finds_the_endpoint_busy_is_remembered_and_not_lost(account: Account, status: str) -> None:
    live = deploy_first(account)
    train(account, metrics=better_than(0.8), live=live)
    account.answers["describe_endpoint"] = endpoint(account) | {"EndpointStatus": status}
    decision = end(account)
    assert isinstance(decision, DeployModel)
    assert status in decision.reason
    assert account.called("update_endpoint") == []
    assert endpoint_tags(account)[names.WANTED_TAG] == JOB
    assert endpoint_tags(account)[names.ASKED_TAG] == LIVE_JOB


def test_a_busy_endpoint_that_refuses_the_update_is_left_to_its_next_event(account: Account) -> None:
    live = deploy_first(account)
    train(account, metrics=better_than(0.8), live=live)

    def refuse(_: Mapping[str, Any]) -> None:
        raise AwsError("sagemaker", "UpdateEndpoint", "ValidationException", "Cannot update in-progress endpoint")

    account.answers["update_endpoint"] = refuse
    assert isinstance(end(account), DeployModel)
    assert endpoint_tags(account)[names.WANTED_TAG] == JOB
    assert endpoint_tags(account)[names.ASKED_TAG] == LIVE_JOB


def test_an_endpoint_that_is_being_deleted_makes_the_event_come_again(account: Account) -> None:
    live = deploy_first(account)
    train(account, metrics=better_than(0.8), live=live)
    account.answers["describe_endpoint"] = endpoint(account) | {"EndpointStatus": "Deleting"}
    with pytest.raises(TryAgain):
        end(account)
    assert len(packages(account)) == 1


def test_a_failed_endpoint_is_deleted_and_made_anew(account: Account) -> None:
    live = deploy_first(account)
    train(account, metrics=better_than(0.8), live=live)
    account.answers["describe_endpoint"] = endpoint(account) | {"EndpointStatus": "Failed"}
    with pytest.raises(TryAgain):
        end(account)
    del account.answers["describe_endpoint"]
    assert isinstance(end(account), DeployModel)
    assert endpoint(account)["EndpointConfigName"] == JOB
    assert len(packages(account)) == 2


def test_another_instance_type_takes_the_variant_off_scaling_before_the_update(account: Account) -> None:
    live = deploy_first(account)
    account.settings = builders.settings(hosting_instance_type="ml.m5.large")
    train(account, metrics=better_than(0.8), live=live)
    account.answers["deregister_scalable_target"] = {}
    end(account)
    order = [name for name, _ in account.calls if name in {"deregister_scalable_target", "update_endpoint"}]
    assert order == ["deregister_scalable_target", "update_endpoint"]


def test_the_endpoint_is_asked_for_again_until_its_new_config_is_visible(account: Account) -> None:
    train(account)
    tries = []

    def not_yet(parameters: Mapping[str, Any]) -> None:
        tries.append(parameters)
        if len(tries) < 3:
            message = 'Could not find endpoint configuration "arn:aws:sagemaker:..."'
            raise AwsError("sagemaker", "CreateEndpoint", "ValidationException", message)

    account.answers["create_endpoint"] = not_yet
    assert isinstance(end(account), DeployModel)
    assert len(tries) == 3


@pytest.mark.parametrize(
    "operation", ["create_model_package", "create_model", "create_endpoint_config", "create_endpoint"]
)
def test_whatever_step_fails_the_next_delivery_finishes_it(account: Account, operation: str) -> None:
    train(account)
    broken = AwsError("sagemaker", operation, "ThrottlingException", "Rate exceeded")

    def fail(_: Mapping[str, Any]) -> None:
        raise broken

    account.answers[operation] = fail
    with pytest.raises(AwsError, match="ThrottlingException"):
        end(account)
    del account.answers[operation]
    assert isinstance(end(account), DeployModel)
    assert len(packages(account)) == 1
    assert endpoint(account)["EndpointConfigName"] == JOB


@pytest.mark.parametrize(
    ("status", "secondary", "reason", "said"),
    [
        ("Failed", "Failed", "AlgorithmError: data.csv line 7 has 3 columns", "data.csv line 7 has 3 columns"),
        ("Stopped", "MaxWaitTimeExceeded", None, "spot capacity"),
        ("Stopped", "MaxRuntimeExceeded", None, "3600 seconds of running"),
        ("Stopped", "Stopped", None, "somebody stopped it"),
    ],
)
def test_a_job_without_a_model_is_told_once_with_what_and_why(
    account: Account, status: str, secondary: str, reason: str | None, said: str
) -> None:
    train(account, TrainingJobStatus=status, SecondaryStatus=secondary, **({"FailureReason": reason} if reason else {}))
    decisions = [end(account, status=status) for _ in range(3)]
    assert isinstance(decisions[0], Notify)
    assert said in decisions[0].reason
    assert [type(decision) for decision in decisions[1:]] == [Skip, Skip]
    [alert] = account.alerts()
    assert said in alert["Message"]
    assert account.client("sagemaker").list_endpoints()["Endpoints"] == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not an archive", "not a readable archive"),
        (builders.archive({"metrics.json": b"{}"}), "no sample.json"),
        (builders.archive({"metrics.json": b'{"format": 2}', "sample.json": b"{}"}), "format is 2"),
        (builders.archive({"sub/metrics.json": b"{}", "sub/sample.json": b"{}"}), "no metrics.json"),
        (builders.model_archive()[:200], "not a readable archive"),
    ],
)
def test_an_artifact_that_says_nothing_about_itself_is_told_and_not_deployed(
    account: Account, content: bytes, said: str
) -> None:
    train(account)
    account.put(f"training-output/{JOB}/output/model.tar.gz", content, ARTIFACTS)
    decision = end(account)
    assert isinstance(decision, Notify)
    assert said in decision.reason


def test_jobs_of_others_are_left_alone(account: Account) -> None:
    train(account)
    account.client("sagemaker").delete_tags(
        ResourceArn=f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{JOB}", TagKeys=["ml-platform:stack"]
    )
    assert isinstance(end(account), Skip)
    assert isinstance(end(account, "kmeans-1"), Skip)


def test_the_handler_logs_and_counts_what_it_returns(
    account: Account,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import deploy_model as function

    monkeypatch.setattr(function, "live_app", account.app)
    train(account, TrainingJobStatus="Failed", SecondaryStatus="Failed", FailureReason="AlgorithmError: no")
    event = builders.sample_event("sagemaker_training_job_state_change")
    event["detail"] |= {"TrainingJobName": JOB, "TrainingJobStatus": "Failed"}
    answer = function.handler(event, builders.LambdaContext())
    assert answer["decision"] == "Notify"
    assert answer["reason"] in caplog.messages
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [line["Notify"] for line in printed if "_aws" in line] == [[1.0]]


SPOT = {
    "TrainingTimeInSeconds": 300,
    "BillableTimeInSeconds": 100,
    "TrainingEndTime": builders.NOON,
    "EnableManagedSpotTraining": True,
}


@pytest.mark.parametrize("status", ["Completed", "Failed", "Stopped"])
def test_what_spot_saved_is_in_the_ledger_once_however_often_the_event_comes(account: Account, status: str) -> None:
    train(account, **SPOT, TrainingJobStatus=status)
    for _ in range(3):
        end(account)
    [key] = account.keys(ARTIFACTS, "ledger/")
    assert key.startswith("ledger/2026-11/spot-")
    saving = account.document(key, ARTIFACTS)
    assert (saving["usd"], saving["dataset"]) == ("0.012778", "churn")
    assert "0.23 USD/hour" in saving["formula"]


def test_a_type_without_a_price_is_told_and_its_model_deployed_all_the_same(account: Account) -> None:
    odd = {"InstanceType": "ml.p5.48xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10}
    train(account, **SPOT, ResourceConfig=odd)
    assert isinstance(end(account), DeployModel)
    assert account.keys(ARTIFACTS, "ledger/") == ["ledger/told/ml.p5.48xlarge.json"]  # told once; no saving counted
    assert account.alerts()[0]["Subject"] == "No price for ml.p5.48xlarge"


def test_a_registered_model_gets_a_card_once_and_the_message_says_where_it_is(account: Account) -> None:
    train(account, TrainingTimeInSeconds=300, BillableTimeInSeconds=100)
    decisions = [end(account) for _ in range(3)]
    assert [type(one) for one in decisions] == [DeployModel, Skip, Skip]
    key = f"models/churn/{JOB}/card.html"
    assert [one["Key"] for one in account.called("put_object") if one["Key"].endswith(".html")] == [key]
    stored = account.client("s3").get_object(Bucket=ARTIFACTS, Key=key)
    assert stored["ContentType"] == "text/html; charset=utf-8"
    assert "ROC AUC" in stored["Body"].read().decode()
    [alert] = account.alerts()
    link = "https://console.aws.amazon.com/s3/object/ml-platform-artifacts?region=us-east-1&prefix=models%2Fchurn%2F"
    assert f"{link}{JOB}%2Fcard.html" in alert["Message"]


@pytest.mark.parametrize(
    "report",
    [
        None,
        b"not JSON",
        b"[1, 2]",
        b'{"format": 1, "label": 7, "columns": {"a": 1}, "importance": [], "calibration": {"bins": [null]}}',
        b'{"label": {"name": "stays"}, "columns": [' + b'{"name": "a"},' * 90_000 + b"{}]}",  # more than is read
    ],
)
def test_a_report_that_is_missing_or_odd_costs_its_pictures_and_not_the_model(
    account: Account, report: bytes | None
) -> None:
    train(account)
    files = {} if report is None else {"report.json": report}
    account.put(f"training-output/{JOB}/output/model.tar.gz", builders.model_archive(**files), ARTIFACTS)
    assert isinstance(end(account), DeployModel)
    page = account.client("s3").get_object(Bucket=ARTIFACTS, Key=f"models/churn/{JOB}/card.html")["Body"].read()
    assert len(page) < 100_000
    assert b"Where it comes from" in page


def refuse_for_its_quota(operation: str) -> Any:
    def refuse(_: Mapping[str, Any]) -> None:
        limit = "The account-level service limit 'ml.c5.large for endpoint usage' is 1 Instances"
        raise AwsError("sagemaker", operation, "ResourceLimitExceeded", limit)

    return refuse


def test_a_model_that_sagemaker_has_no_quota_for_waits_for_an_approval_and_is_told_once(account: Account) -> None:
    train(account)
    account.answers["create_endpoint"] = refuse_for_its_quota("CreateEndpoint")
    decision = end(account)
    assert isinstance(decision, AskApproval)
    [package] = packages(account)
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["CustomerMetadataProperties"]["asked"] == "quota"
    [alert] = account.alerts()
    assert "'ml.c5.large for endpoint usage' is 1 Instances" in alert["Message"]
    assert isinstance(end(account), Skip)


@pytest.mark.parametrize(
    "said",
    [
        "Could not assume role arn:aws:iam::123456789012:role/ml-platform-training. Please ensure that the role exists "
        "and allows principal 'sagemaker.amazonaws.com' to assume the role.",
        f"Could not find model data at s3://{ARTIFACTS}/training-output/{JOB}/output/model.tar.gz.",
    ],
)
def test_a_model_whose_role_or_artifact_was_deleted_waits_and_is_told_once(account: Account, said: str) -> None:
    def refuse(_: Mapping[str, Any]) -> None:
        raise AwsError("sagemaker", "CreateModel", "ValidationException", said)

    train(account)
    account.answers["create_model"] = refuse
    assert isinstance(end(account), AskApproval)
    [package] = packages(account)
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["CustomerMetadataProperties"]["asked"] == "missing"
    [alert] = account.alerts()
    assert said.partition(". ")[0].rstrip(".") in alert["Message"]
    assert isinstance(end(account), Skip)


def test_an_update_that_is_refused_for_a_quota_leaves_no_wish_behind(account: Account) -> None:
    live = deploy_first(account)
    train(account, metrics=better_than(0.8), live=live)
    account.answers["update_endpoint"] = refuse_for_its_quota("UpdateEndpoint")
    assert isinstance(end(account), AskApproval)
    assert endpoint_tags(account)[names.WANTED_TAG] == LIVE_JOB


def test_an_update_to_other_types_takes_the_scaling_that_forbids_it(account: Account) -> None:
    live = deploy_first(account)
    train(account, metrics=better_than(0.8), live=live)
    accept, account.answers["describe_scalable_targets"] = (
        account.answers["update_endpoint"],
        {"ScalableTargets": [{"MinCapacity": 2, "MaxCapacity": 7}]},
    )
    account.answers["deregister_scalable_target"] = {}
    refusals = [
        'The variant(s) "["AllTraffic"]" must be deregistered as a scalable target with AutoScaling before they can be '
        "removed or have their instance type updated."
    ]

    def once(parameters: Mapping[str, Any]) -> Any:
        if refusals:
            raise AwsError("sagemaker", "UpdateEndpoint", "ValidationException", refusals.pop())
        return accept(parameters)

    account.answers["update_endpoint"] = once
    assert isinstance(end(account), DeployModel)
    assert len(account.called("deregister_scalable_target")) == 1
    assert endpoint_tags(account)[names.TAKEN_TAG] == "2..7"
    assert endpoint_tags(account)[names.ASKED_TAG] == JOB
