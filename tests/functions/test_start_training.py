"""A drop starts one job, or gets one sentence, whatever the events do. On moto."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest

import builders
from builders import Account
from mlplatform import events, names
from mlplatform.decisions import Decision, HoldDataset, RejectDataset, Skip, StartTraining
from mlplatform.errors import AwsError, NotAsPlanned
from mlplatform.facts import Parked
from mlplatform.parking import record_tags
from start_training import start_training


def handle(account: Account, event: dict[str, Any]) -> Decision:
    return start_training(account.app(), events.dataset_arrived(event))


def jobs(account: Account) -> list[str]:
    return [job["TrainingJobName"] for job in account.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]]


def names_are_unique(account: Account) -> None:
    """AWS refuses a second job of a name; moto does not."""
    taken: set[str] = set()

    def create(parameters: dict[str, Any]) -> None:
        if parameters["TrainingJobName"] in taken:
            raise AwsError("sagemaker", "CreateTrainingJob", "ResourceInUse", "Training job names must be unique")
        taken.add(parameters["TrainingJobName"])

    account.answers["create_training_job"] = create


def test_a_drop_starts_a_job_with_a_manifest_and_says_so_in_its_verdict(account: Account) -> None:
    event = account.put("datasets/churn/data.csv", builders.csv())
    decision = handle(account, event)
    assert isinstance(decision, StartTraining)
    assert jobs(account) == [decision.job_name]
    verdict = account.document(f"verdicts/churn/{decision.version}.json")
    assert (verdict["verdict"], verdict["job_name"]) == ("accepted", decision.job_name)
    assert "label" in verdict["reason"]
    manifest = account.document(f"manifests/churn/{decision.version}.json", "ml-platform-artifacts")
    assert manifest == [{"prefix": "s3://ml-platform-data/datasets/churn/"}, "data.csv"]
    assert account.alerts() == []


def test_ten_copies_of_an_event_in_any_order_start_one_job(account: Account) -> None:
    names_are_unique(account)
    dropped = [
        account.put("datasets/churn/job.json", json.dumps({"task": "binary"}).encode()),
        account.put("datasets/churn/test.csv", builders.csv(seed=2)),
        account.put("datasets/churn/train.csv", builders.csv()),
    ]
    copies = dropped * 10
    random.Random(7).shuffle(copies)
    decisions = [handle(account, event) for event in copies]
    assert [type(decision) for decision in decisions].count(StartTraining) == 1
    assert {type(decision) for decision in decisions} == {StartTraining, Skip}
    assert len(jobs(account)) == 1
    assert len(account.keys("ml-platform-data", "verdicts/")) == 1


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_whatever_the_order_of_a_drops_events_the_last_object_decides(account: Account, order: list[int]) -> None:
    keys = ("datasets/churn/train.csv", "datasets/churn/validation.csv", "datasets/churn/test.csv")
    dropped = [account.put(key, builders.csv(seed=n)) for n, key in enumerate(keys)]
    decisions = [handle(account, dropped[position]) for position in order]
    assert [type(decision) for decision in decisions].count(StartTraining) == 1


def test_a_copy_that_is_handled_at_the_same_time_finds_the_job_and_steps_aside(account: Account) -> None:
    names_are_unique(account)
    event = account.put("datasets/churn/data.csv", builders.csv())

    def no_verdict_yet(_: Any) -> None:
        raise AwsError("s3", "HeadObject", "404", "Not Found")

    account.answers["head_object"] = no_verdict_yet
    assert isinstance(handle(account, event), StartTraining)
    second = handle(account, event)
    assert isinstance(second, Skip)
    assert "exists already" in second.reason
    assert len(jobs(account)) == 1


def test_a_function_that_died_between_job_and_verdict_writes_the_verdict_the_next_time(account: Account) -> None:
    names_are_unique(account)
    event = account.put("datasets/churn/data.csv", builders.csv())
    broken = AwsError("s3", "PutObject", "InternalError", "We encountered an internal error")

    def put(parameters: dict[str, Any]) -> None:
        if parameters["Key"].startswith("verdicts/"):
            raise broken

    account.answers["put_object"] = put
    with pytest.raises(AwsError):
        handle(account, event)
    del account.answers["put_object"]
    assert isinstance(handle(account, event), Skip)
    assert len(account.keys("ml-platform-data", "verdicts/")) == 1
    assert len(jobs(account)) == 1


def test_a_rejected_drop_gets_a_verdict_and_one_alert_and_no_job(account: Account) -> None:
    event = account.put("datasets/churn/data.csv", b"a,b,label\n")
    decisions = [handle(account, event) for _ in range(3)]
    assert isinstance(decisions[0], RejectDataset)
    assert [type(decision) for decision in decisions[1:]] == [Skip, Skip]
    verdict = account.document(account.keys("ml-platform-data", "verdicts/")[0])
    assert verdict["verdict"] == "rejected"
    assert verdict["job_name"] is None
    [alert] = account.alerts()
    assert verdict["reason"] in alert["Message"]
    assert jobs(account) == []


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("datasets/Churn Data/data.csv", "Churn Data"),
        ("datasets/data.csv", "datasets/my-data/data.csv"),
        ("datasets/churn/2026/data.csv", "directly under datasets/churn/"),
        (f"datasets/{'a' * 33}/data.csv", "a" * 33),
    ],
)
def test_a_name_that_breaks_the_rule_is_rejected_in_words(account: Account, key: str, said: str) -> None:
    decision = handle(account, account.put(key, builders.csv()))
    assert isinstance(decision, RejectDataset)
    assert said in decision.reason
    assert len(account.keys("ml-platform-data", "verdicts/")) == 1
    assert len(account.alerts()) == 1


@pytest.mark.parametrize("file", ["my data.csv", "a+b.csv", "50%25off.csv", "größe.csv", "x&y=z?.csv"])
def test_any_file_name_works_because_the_key_is_taken_as_it_is(account: Account, file: str) -> None:
    decision = handle(account, account.put(f"datasets/churn/{file}", builders.csv()))
    assert isinstance(decision, StartTraining)
    assert json.loads(decision.manifest)[1] == file


def test_a_folder_marker_starts_nothing(account: Account) -> None:
    assert isinstance(handle(account, account.put("datasets/churn/", b"")), Skip)
    assert account.keys("ml-platform-data", "verdicts/") == []


def test_job_json_without_data_waits_for_the_data(account: Account) -> None:
    decision = handle(account, account.put("datasets/churn/job.json", b"{}"))
    assert isinstance(decision, Skip)
    assert account.keys("ml-platform-data", "verdicts/") == []


def test_an_object_that_was_overwritten_is_left_to_its_newer_event(account: Account) -> None:
    first = account.put("datasets/churn/data.csv", builders.csv(seed=1))
    second = account.put("datasets/churn/data.csv", builders.csv(seed=2))
    assert isinstance(handle(account, first), Skip)
    assert isinstance(handle(account, second), StartTraining)


def test_a_changed_drop_is_a_new_version_with_a_job_of_its_own(account: Account) -> None:
    for seed in (1, 2):
        handle(account, account.put("datasets/churn/data.csv", builders.csv(seed=seed)))
    assert len(set(jobs(account))) == 2


@pytest.mark.parametrize("fault", ["not spot", "not tagged"])
def test_a_job_that_is_not_on_spot_or_not_tagged_is_stopped(account: Account, fault: str) -> None:
    event = account.put("datasets/churn/data.csv", builders.csv())

    def describe(parameters: dict[str, Any]) -> dict[str, Any]:
        name = parameters["TrainingJobName"]
        found = account.client("sagemaker").describe_training_job(TrainingJobName=name)
        return found | {"TrainingJobStatus": "InProgress", "EnableManagedSpotTraining": fault != "not spot"}

    account.answers["describe_training_job"] = describe
    account.answers["stop_training_job"] = lambda _: {}
    if fault == "not tagged":
        account.answers["list_tags"] = {"Tags": []}
    with pytest.raises(NotAsPlanned, match="spot" if fault == "not spot" else "Owner"):
        handle(account, event)
    assert len(account.called("stop_training_job")) == 1
    assert account.keys("ml-platform-data", "verdicts/") == []


def test_a_job_whose_tags_are_listed_late_goes_on(account: Account) -> None:
    event = account.put("datasets/churn/data.csv", builders.csv())
    asked = []

    def list_tags(parameters: dict[str, Any]) -> dict[str, Any]:
        asked.append(parameters)
        tags = account.client("sagemaker").list_tags(ResourceArn=parameters["ResourceArn"])["Tags"]
        return {"Tags": tags if len(asked) > 1 else []}

    account.answers["list_tags"] = list_tags
    assert isinstance(handle(account, event), StartTraining)
    assert len(asked) == 2
    assert account.called("stop_training_job") == []


def test_only_the_beginning_of_a_large_file_is_read(account: Account) -> None:
    header, rows = builders.csv(6_000).split(b"\n", 1)
    event = account.put("datasets/churn/data.csv", header + b"\n" + 100 * rows)
    assert isinstance(handle(account, event), StartTraining)
    [read] = [one for one in account.called("get_object") if one["Key"].startswith("datasets/")]
    assert read["Range"] == "bytes=0-8388607"


def test_messages_that_fail_go_back_to_the_queue_alone(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    import start_training as function

    monkeypatch.setattr(function, "live_app", account.app)
    good = account.put("datasets/churn/data.csv", builders.csv())
    answer = function.handler(
        builders.sqs_batch({"source": "aws.s3", "detail-type": "Object Deleted"}, good), builders.LambdaContext()
    )
    assert answer["batchItemFailures"] == [{"itemIdentifier": "m0"}]
    [decision] = answer["decisions"]
    assert decision["decision"] == "StartTraining"
    assert decision["reason"].startswith("churn version ")


def hold(account: Account, period: str) -> None:
    document = {"period": period, "reason": "The ceiling is reached.", "since": builders.NOON.isoformat()}
    account.put("spend/hold.json", json.dumps(document).encode(), "ml-platform-artifacts")


def test_a_drop_under_a_hold_is_told_once_and_starts_when_it_is_dropped_again_afterwards(account: Account) -> None:
    names_are_unique(account)
    hold(account, "2999-12-31")
    event = account.put("datasets/churn/data.csv", builders.csv())
    first, second = handle(account, event), handle(account, event)
    assert isinstance(first, HoldDataset)
    assert isinstance(second, Skip)
    assert jobs(account) == []
    verdict = account.document(account.keys("ml-platform-data", "verdicts/")[0])
    assert (verdict["verdict"], verdict["job_name"]) == ("held", None)
    assert "mlp costs resume" in verdict["reason"]
    [alert] = account.alerts()
    assert "The ceiling is reached." in alert["Message"]
    account.client("s3").delete_object(Bucket="ml-platform-artifacts", Key="spend/hold.json")
    assert isinstance(handle(account, event), StartTraining)
    assert account.document(account.keys("ml-platform-data", "verdicts/")[0])["verdict"] == "accepted"
    assert isinstance(handle(account, event), Skip)
    assert len(jobs(account)) == 1


def test_a_hold_whose_period_is_over_holds_nothing_even_if_nobody_removed_it(account: Account) -> None:
    hold(account, "2026-01")
    assert isinstance(handle(account, account.put("datasets/churn/data.csv", builders.csv())), StartTraining)


def test_a_bad_drop_is_rejected_under_a_hold_as_ever(account: Account) -> None:
    hold(account, "2999-12-31")
    assert isinstance(handle(account, account.put("datasets/churn/data.csv", b"a,b,label\n")), RejectDataset)


def test_a_stopped_endpoints_model_is_the_one_to_beat(account: Account) -> None:
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:endpoint-config/{builders.LIVE_JOB}"
    record = record_tags(Parked("ml-platform-churn", builders.LIVE_JOB, builders.NOON, {}, ()), {})
    found = [{"ResourceARN": arn, "Tags": names.tag_list(record)}]
    account.answers["get_resources"] = {"ResourceTagMappingList": found}
    variant = {"VariantName": names.VARIANT, "ModelName": builders.LIVE_JOB, "InstanceType": "ml.c5.large"}
    account.answers["describe_endpoint_config"] = {"ProductionVariants": [variant]}
    account.answers["describe_model"] = {"PrimaryContainer": {"ModelDataUrl": builders.LIVE_ARTIFACT}}
    decision = handle(account, account.put("datasets/churn/data.csv", builders.csv()))
    assert isinstance(decision, StartTraining)
    channels = {one["ChannelName"]: one["DataSource"]["S3DataSource"] for one in decision.request["InputDataConfig"]}
    assert channels["live_model"]["S3Uri"] == builders.LIVE_ARTIFACT


def test_a_drop_that_the_quota_forbids_waits_until_it_is_raised(account: Account) -> None:
    quota = {"QuotaName": "ml.m5.xlarge for spot training job usage", "Value": 0.0}
    account.answers["list_service_quotas"] = {"Quotas": [quota]}
    event = account.put("datasets/churn/data.csv", builders.csv())
    decision = handle(account, event)
    assert isinstance(decision, HoldDataset)
    assert jobs(account) == []
    [alert] = account.alerts()
    assert '"ml.m5.xlarge for spot training job usage" is 0' in alert["Message"]
    verdict = account.document(f"verdicts/churn/{decision.version}.json")
    assert verdict["verdict"] == "held"
    account.answers["list_service_quotas"] = {"Quotas": [quota | {"Value": 1.0}]}
    assert isinstance(handle(account, event), StartTraining)
    assert len(jobs(account)) == 1


def test_who_may_not_see_the_quotas_trains_all_the_same(account: Account) -> None:
    def forbidden(_: Any) -> None:
        raise AwsError("service-quotas", "ListServiceQuotas", "AccessDeniedException", "not authorized")

    account.answers["list_service_quotas"] = forbidden
    assert isinstance(handle(account, account.put("datasets/churn/data.csv", builders.csv())), StartTraining)


def test_what_sagemaker_itself_refuses_because_of_a_quota_is_told_and_not_tried_for_ever(account: Account) -> None:
    said = "The account-level service limit 'ml.m5.xlarge for spot training job usage' is 4 Instances"

    def refuse(_: Any) -> None:
        raise AwsError("sagemaker", "CreateTrainingJob", "ResourceLimitExceeded", said)

    account.answers["create_training_job"] = refuse
    event = account.put("datasets/churn/data.csv", builders.csv())
    decision = handle(account, event)
    assert isinstance(decision, HoldDataset)
    assert said in decision.reason
    del account.answers["create_training_job"]
    assert isinstance(handle(account, event), StartTraining)


ROLE_GONE = (
    "Could not assume role arn:aws:iam::123456789012:role/ml-platform-training. Please ensure that the role exists and "
    "allows principal 'sagemaker.amazonaws.com' to assume the role."
)


@pytest.mark.parametrize(
    ("service", "operation", "code", "said"),
    [
        ("sagemaker", "create_training_job", "ValidationException", ROLE_GONE),
        ("s3", "put_object", "NoSuchBucket", "The specified bucket does not exist"),
        ("s3", "put_object", "KMS.NotFoundException", "Key 'arn:aws:kms:us-east-1:123456789012:key/1' does not exist"),
    ],
)
def test_a_deleted_role_bucket_or_key_is_told_once_and_the_drop_waits(
    account: Account, service: str, operation: str, code: str, said: str
) -> None:
    def refuse(parameters: dict[str, Any]) -> None:
        if parameters.get("Bucket") != account.settings.data_bucket:
            raise AwsError(service, operation, code, said)

    event = account.put("datasets/churn/data.csv", builders.csv())
    account.answers[operation] = refuse
    decisions = [handle(account, event) for _ in range(3)]
    assert [type(one) for one in decisions] == [HoldDataset, Skip, Skip]
    assert said.partition(". ")[0] in decisions[0].reason
    [alert] = account.alerts()
    assert alert["Subject"] == "ml-platform: dataset churn has to wait"
    del account.answers[operation]
    assert isinstance(handle(account, event), StartTraining)
