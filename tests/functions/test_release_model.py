"""A model that is approved or rejected in the registry, by whatever client, is deployed or not. On moto."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from trained_account import ARTIFACTS, better_than, deploy_first, end, endpoint, endpoint_tags, packages, train

import builders
from builders import JOB, LIVE_JOB, Account
from deploy_model import find_lost_approvals, release_model
from mlplatform import events, names
from mlplatform.decisions import AskApproval, Decision, DeployModel, KeepLiveModel, Notify, Skip
from mlplatform.errors import AwsError, NotAsPlanned, TryAgain
from mlplatform.facts import Parked
from mlplatform.parking import read_record, record_tags

CONFIG_ARN = f"arn:aws:sagemaker:{builders.REGION}:123456789012:endpoint-config"


def package_of(account: Account, job: str) -> dict[str, Any]:
    return next(one for one in packages(account) if one["ModelPackageDescription"].startswith(f"Trained by {job}."))


def say(account: Account, package: Mapping[str, Any], status: str, **properties: str) -> dict[str, Any]:
    """What a person does in the registry; the event of it. moto forgets the properties that an update leaves out."""
    account.client("sagemaker").update_model_package(
        ModelPackageArn=package["ModelPackageArn"],
        ModelApprovalStatus=status,
        CustomerMetadataProperties={**package.get("CustomerMetadataProperties", {}), **properties},
    )
    return event_of(package, status, UpdatedModelPackageFields=["ModelApprovalStatus"])


def event_of(package: Mapping[str, Any], status: str, **detail: Any) -> dict[str, Any]:
    event = builders.sample_event("sagemaker_model_package_state_change")
    event["detail"] |= {
        "ModelPackageArn": package["ModelPackageArn"],
        "ModelPackageGroupName": "ml-platform-churn",
        "ModelPackageVersion": int(package["ModelPackageArn"].rsplit("/", 1)[1]),
        "ModelApprovalStatus": status,
        "LastModifiedTime": f"2026-11-23T12:{len(str(detail)) % 60:02}:00Z",
        **detail,
    }
    return event


def tell(account: Account, event: Mapping[str, Any]) -> Decision:
    return release_model(account.app(), events.package_changed(event))


@pytest.fixture
def asked(account: Account) -> dict[str, Any]:
    """A model that is live, and the package of a better one whose job.json asks for approval."""
    live = deploy_first(account)
    train(account, metrics=better_than(0.8), live=live)
    account.client("sagemaker").add_tags(
        ResourceArn=f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{JOB}",
        Tags=[{"Key": names.APPROVAL_TAG, "Value": "manual"}],
    )
    account.alerts()
    assert isinstance(end(account), AskApproval)
    return package_of(account, JOB)


def test_a_model_that_waits_is_told_with_what_changes_and_every_command(
    account: Account, asked: dict[str, Any]
) -> None:
    assert asked["ModelApprovalStatus"] == "PendingManualApproval"
    assert endpoint(account)["EndpointConfigName"] == LIVE_JOB
    [alert] = account.alerts()
    for said in (
        "waits for a person's approval, because its job.json asks for that",
        "roc_auc 0.9000 on its test rows; the live model has 0.8000 on the same (+0.1000)",
        "Hosting: 22.16 USD a month (1 x ml.c5.large at 0.102 USD an hour, 217 hours a month), now 22.16: no diff",
        "mlp approve churn/2",
        "mlp reject churn/2",
        "mlp rollback churn",
        f"aws sagemaker update-model-package --model-package-arn {asked['ModelPackageArn']} --model-approval-status",
    ):
        assert said in alert["Message"], said
    assert isinstance(end(account), Skip), "the job's event came again"
    assert account.alerts() == []


def test_an_approval_leaves_the_card_as_the_training_made_it(account: Account, asked: dict[str, Any]) -> None:
    card = account.client("s3").get_object(Bucket=ARTIFACTS, Key=f"models/churn/{JOB}/card.html")["Body"].read()
    assert b"passed its gate; a person decides" in card
    account.calls.clear()
    assert isinstance(tell(account, say(account, asked, "Approved", approved_by="ann")), DeployModel)
    assert [one["Key"] for one in account.called("put_object") if one["Key"].endswith(".html")] == []


def test_an_approval_deploys_once_however_often_its_event_comes(account: Account, asked: dict[str, Any]) -> None:
    event = say(account, asked, "Approved")
    decision = tell(account, event)
    assert isinstance(decision, DeployModel)
    assert endpoint(account)["EndpointConfigName"] == JOB
    assert endpoint_tags(account)[names.WANTED_TAG] == JOB
    account.calls.clear()
    account.alerts()
    assert isinstance(tell(account, event), Skip)
    noted = event_of(asked, "Approved", UpdatedModelPackageFields=["CustomerMetadataProperties"])
    assert isinstance(tell(account, noted), Skip)
    assert isinstance(tell(account, say(account, asked, "Approved", note="x")), Skip), "it is live already"
    assert [name for name, _ in account.calls if name.startswith(("create", "update", "publish"))] == []


def test_a_late_copy_of_an_approval_does_not_bring_back_what_was_replaced(
    account: Account, asked: dict[str, Any]
) -> None:
    event = say(account, asked, "Approved")
    tell(account, event)
    tell(account, say(account, package_of(account, LIVE_JOB), "Approved"))
    assert endpoint(account)["EndpointConfigName"] == LIVE_JOB
    again = tell(account, event)
    assert isinstance(again, Skip)
    assert endpoint(account)["EndpointConfigName"] == LIVE_JOB


def test_an_older_model_that_is_approved_again_is_a_rollback_with_its_own_config(
    account: Account, asked: dict[str, Any]
) -> None:
    tell(account, say(account, asked, "Approved"))
    account.calls.clear()
    decision = tell(account, say(account, package_of(account, LIVE_JOB), "Approved"))
    assert isinstance(decision, DeployModel)
    assert "older than the live version 2, so that this is a rollback" in decision.reason
    [update] = account.called("update_endpoint")
    assert (update["EndpointConfigName"], update["RetainAllVariantProperties"]) == (LIVE_JOB, True)
    assert account.keys(ARTIFACTS, "releases/") == sorted(account.keys(ARTIFACTS, "releases/"))
    assert len(account.keys(ARTIFACTS, "releases/churn/00001-")) == 2


def test_a_model_that_failed_its_gate_is_deployed_only_if_it_was_forced(account: Account) -> None:
    live = deploy_first(account)
    train(account, metrics=better_than(0.95), live=live)
    assert isinstance(end(account), KeepLiveModel)
    failed = package_of(account, JOB)
    account.alerts()
    event = say(account, failed, "Approved")
    for _ in range(2):
        decision = tell(account, event)
    assert isinstance(decision, Skip)
    [alert] = account.alerts()
    assert "it failed its gate" in alert["Message"]
    assert endpoint(account)["EndpointConfigName"] == LIVE_JOB
    forced = say(account, failed, "Approved", forced_by="arn:aws:iam::1:user/ann")
    forced["detail"]["LastModifiedTime"] = "2026-11-23T13:00:00Z"
    assert isinstance(tell(account, forced), DeployModel)
    assert endpoint(account)["EndpointConfigName"] == JOB


def test_the_live_model_that_is_rejected_stays_and_is_told_once(account: Account) -> None:
    deploy_first(account)
    account.alerts()
    event = say(account, package_of(account, LIVE_JOB), "Rejected")
    assert isinstance(tell(account, event), Notify)
    assert isinstance(tell(account, event), Skip)
    [alert] = account.alerts()
    assert "mlp rollback churn" in alert["Message"]
    assert endpoint(account)["EndpointStatus"] == "InService"


def park(account: Account) -> Parked:
    """Stops the endpoint as office hours do: its record in its config's tags, and the endpoint deleted."""
    tags = endpoint_tags(account)
    variants = ({"VariantName": names.VARIANT, "InstanceType": "ml.c5.large", "DesiredInstanceCount": 3},)
    parked = Parked("ml-platform-churn", LIVE_JOB, builders.NOON, tags, variants, alarms=("ml-platform-churn-cpu",))
    sagemaker = account.client("sagemaker")
    sagemaker.add_tags(
        ResourceArn=f"{CONFIG_ARN}/{LIVE_JOB}", Tags=names.tag_list(record_tags(parked, config_tags(account, LIVE_JOB)))
    )
    sagemaker.delete_endpoint(EndpointName="ml-platform-churn")

    def resources(_: Mapping[str, Any]) -> dict[str, Any]:
        """moto's tagging service knows no endpoint configs."""
        found = []
        for config in sagemaker.list_endpoint_configs()["EndpointConfigs"]:
            own = sagemaker.list_tags(ResourceArn=config["EndpointConfigArn"])["Tags"]
            found.append({"ResourceARN": config["EndpointConfigArn"], "Tags": own})
        return {"ResourceTagMappingList": found, "PaginationToken": ""}

    account.answers["get_resources"] = resources
    return parked


def config_tags(account: Account, config: str) -> dict[str, str]:
    found = account.client("sagemaker").list_tags(ResourceArn=f"{CONFIG_ARN}/{config}")["Tags"]
    return {tag["Key"]: tag["Value"] for tag in found}


def test_an_approval_while_the_endpoint_is_stopped_is_what_it_comes_back_with(
    account: Account, asked: dict[str, Any]
) -> None:
    parked = park(account)
    decision = tell(account, say(account, asked, "Approved"))
    assert isinstance(decision, DeployModel)
    assert account.client("sagemaker").list_endpoints()["Endpoints"] == [], "nothing is started for it"
    assert read_record(config_tags(account, LIVE_JOB)) is None
    record = read_record(config_tags(account, JOB))
    assert record is not None
    assert (record.endpoint, record.config, record.since) == ("ml-platform-churn", JOB, parked.since)
    assert (record.variants, record.alarms) == (parked.variants, parked.alarms)
    assert (record.tags[names.WANTED_TAG], record.tags[names.ASKED_TAG]) == (JOB, JOB)


def test_a_model_that_is_trained_at_night_has_to_beat_the_stopped_one(account: Account) -> None:
    live = deploy_first(account)
    park(account)
    train(account, metrics=better_than(0.95), live=live)
    kept = end(account)
    assert isinstance(kept, KeepLiveModel)
    assert "no better than the live model's 0.9500" in kept.reason


def test_an_endpoint_that_comes_back_in_the_middle_of_it_makes_the_event_come_again(
    account: Account, asked: dict[str, Any]
) -> None:
    park(account)
    absent = {"describe_endpoint": 0}

    def back(parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        absent["describe_endpoint"] += parameters["EndpointName"] == "ml-platform-churn"
        return {"EndpointStatus": "Creating"} if absent["describe_endpoint"] > 1 else None

    account.answers["describe_endpoint"] = back
    with pytest.raises(TryAgain, match="came back just now"):
        tell(account, say(account, asked, "Approved"))
    assert account.keys(ARTIFACTS, "releases/churn/00002-") == []


def test_what_a_pipeline_registers_is_judged_and_gets_its_card(account: Account) -> None:
    live = deploy_first(account)
    account.put(
        "training-output/pipelines-1-Train/output/model.tar.gz", builders.model_archive(better_than(0.8)), ARTIFACTS
    )
    container = {
        "Image": builders.IMAGE,
        "ModelDataUrl": f"s3://{ARTIFACTS}/training-output/pipelines-1-Train/output/model.tar.gz",
    }
    arn = account.client("sagemaker").create_model_package(
        ModelPackageGroupName="ml-platform-churn",
        ModelApprovalStatus="Approved",
        InferenceSpecification={
            "Containers": [container],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
        CustomerMetadataProperties={"compared_with": live},
    )["ModelPackageArn"]
    event = event_of({"ModelPackageArn": arn}, "Approved")
    del event["detail"]["LastModifiedTime"]
    account.answers["update_model_package"] = {}  # moto forgets the approval where an update leaves it out
    decision = tell(account, event)
    assert isinstance(decision, DeployModel), decision
    assert "better than the live model's 0.8000; it replaces it" in decision.reason
    assert endpoint(account)["EndpointConfigName"] == "ml-platform-churn-v2"
    assert account.document("models/churn/ml-platform-churn-v2/sample.json", ARTIFACTS) == builders.SAMPLE_JSON
    [noted] = account.called("update_model_package")
    assert noted["CustomerMetadataProperties"]["live_roc_auc"] == "0.800000"
    assert account.keys(ARTIFACTS, "models/churn/ml-platform-churn-v2/card.html")
    assert isinstance(tell(account, event), Skip)


def test_an_approval_whose_event_was_lost_is_found_later(account: Account, asked: dict[str, Any]) -> None:
    say(account, asked, "Approved")
    approved = package_of(account, JOB)["LastModifiedTime"]
    for minutes, kind in ((5, Skip), (30, DeployModel), (60, Skip)):
        [decision] = find_lost_approvals(account.app(), approved + timedelta(minutes=minutes))
        assert isinstance(decision, kind), (minutes, decision)
    assert endpoint(account)["EndpointConfigName"] == JOB


def test_the_handler_tells_events_and_the_clock_apart(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    import deploy_model as function

    monkeypatch.setattr(function, "live_app", account.app)
    other = builders.sample_event("sagemaker_model_package_state_change")
    answer = function.handler(other, builders.LambdaContext())
    assert (answer["decision"], "versionedmp" in answer["reason"]) == ("Skip", True)  # type: ignore[call-overload, index]
    account.answers |= {"search": {"Results": []}, "list_pipeline_executions": {"PipelineExecutionSummaries": []}}
    swept = function.handler({"scheduled_time": "2026-11-24T08:30:00Z"}, builders.LambdaContext())
    assert [one["reason"] for one in swept] == [  # type: ignore[index]
        "Every job that ended was dealt with.",
        "Every approval was acted upon.",
    ]


def test_a_package_with_a_name_that_another_artifact_has_is_refused_and_not_mistaken_for_it(
    account: Account, asked: dict[str, Any]
) -> None:
    tell(account, say(account, asked, "Approved"))
    tell(account, say(account, package_of(account, LIVE_JOB), "Approved"))
    account.answers["describe_model_package"] = lambda _: {
        **package_of_moto(account, asked["ModelPackageArn"]),
        "InferenceSpecification": {"Containers": [{"Image": builders.IMAGE, "ModelDataUrl": "s3://else/model.tar.gz"}]},
    }

    def exists(_: Mapping[str, Any]) -> None:
        """moto makes a second model of a name."""
        raise AwsError("sagemaker", "CreateModel", "ValidationException", "Cannot create already existing model")

    account.answers["create_model"] = exists
    again = say(account, asked, "Approved")
    again["detail"]["LastModifiedTime"] = "2026-11-23T14:00:00Z"
    with pytest.raises(NotAsPlanned, match=r"with s3://ml-platform-artifacts/.*and not with s3://else/"):
        tell(account, again)
    assert endpoint(account)["EndpointConfigName"] == LIVE_JOB


def package_of_moto(account: Account, arn: str) -> dict[str, Any]:
    found: dict[str, Any] = account.client("sagemaker").describe_model_package(ModelPackageName=arn)
    return found
