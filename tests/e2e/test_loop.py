"""From drop to prediction on the laptop: the template, the functions and the model code, really executed."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mlplatform import names
from mlplatform.facts import StoredObject

from .conftest import STACK, Laptop, Mlp, eventually
from .customers import SHORT, customers
from .test_kinds_of_hosting import predicted

pytestmark = pytest.mark.xdist_group("laptop")


def invoke(laptop: Laptop, dataset: str, body: Any, content_type: str = "application/json") -> dict[str, Any]:
    answer = laptop.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=names.endpoint(STACK, dataset),
        Body=body if isinstance(body, (str, bytes)) else json.dumps(body),
        ContentType=content_type,
    )
    parsed: dict[str, Any] = json.loads(answer["Body"].read())
    return parsed


def test_a_drop_becomes_an_endpoint_with_two_scaling_policies(laptop: Laptop, deployed: str) -> None:
    policies = laptop.scaling_policies("churn")
    targets = {
        policy["TargetTrackingScalingPolicyConfiguration"]
        .get("PredefinedMetricSpecification", {})
        .get("PredefinedMetricType", "custom"): policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"]
        for policy in policies
    }
    assert targets["SageMakerVariantInvocationsPerInstance"] == 1000


def test_the_training_job_ran_on_spot_with_tags_metrics_and_an_artifact(laptop: Laptop, deployed: str) -> None:
    job = laptop.job_end(deployed)
    assert job["TrainingJobStatus"] == "Completed"
    assert job["EnableManagedSpotTraining"] is True
    assert job["StoppingCondition"]["MaxWaitTimeInSeconds"] >= job["StoppingCondition"]["MaxRuntimeInSeconds"]
    assert 0 < job["BillableTimeInSeconds"] < job["TrainingTimeInSeconds"]
    states = [transition["Status"] for transition in job["SecondaryStatusTransitions"]]
    assert states == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    metrics = {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]}
    assert 0.5 < metrics["test:roc_auc"] <= 1
    tags = {tag["Key"]: tag["Value"] for tag in laptop.sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"]}
    assert {"Project", "Environment", "CostCenter", "Owner"} <= set(tags)
    laptop.s3.head_object(
        Bucket=laptop.connection.outputs["ArtifactBucketName"],
        Key=job["ModelArtifacts"]["S3ModelArtifacts"].split("/", 3)[3],
    )


def test_everything_made_for_a_model_carries_the_required_tags(laptop: Laptop, deployed: str) -> None:
    endpoint = laptop.sagemaker.describe_endpoint(EndpointName=names.endpoint(STACK, "churn"))
    config = laptop.sagemaker.describe_endpoint_config(EndpointConfigName=deployed)
    model = laptop.sagemaker.describe_model(ModelName=deployed)
    group = laptop.sagemaker.describe_model_package_group(ModelPackageGroupName=names.endpoint(STACK, "churn"))
    for arn in (
        endpoint["EndpointArn"],
        config["EndpointConfigArn"],
        model["ModelArn"],
        group["ModelPackageGroupArn"],
    ):
        tags = {tag["Key"] for tag in laptop.sagemaker.list_tags(ResourceArn=arn)["Tags"]}
        assert {"Project", "Environment", "CostCenter", "Owner"} <= tags, arn


def test_the_model_has_a_card_that_the_message_the_status_and_a_command_lead_to(
    laptop: Laptop, deployed: str, tmp_path: Path, mlp: Mlp
) -> None:
    status = mlp("status", "churn")
    assert "mlp --laptop card churn" in status
    link = next(word for word in status.split() if word.endswith("card.html"))
    with urllib.request.urlopen(link, timeout=60) as answer:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        page = answer.read()
    assert link in json.dumps(laptop.inbox(link))
    mlp("card", "churn", "--save", str(tmp_path / "card.html"))
    assert (tmp_path / "card.html").read_bytes() == page
    shown = page.decode()
    for part in ("Predicts <b>stays</b> from 3 columns", "What it relies on", "How training went", "income", deployed):
        assert part in shown


def test_the_endpoint_answers_features_records_and_csv_alike(laptop: Laptop, deployed: str) -> None:
    by_features = invoke(laptop, "churn", {"features": [[30, 2500.0, "pro"]]})
    by_records = invoke(laptop, "churn", {"records": [{"plan": "pro", "income": 2500.0, "age": 30}]})
    by_csv = invoke(laptop, "churn", "30,2500.0,pro\n", "text/csv")
    assert by_features["predictions"] == by_records["predictions"] == by_csv["predictions"] == ["yes"]
    assert by_features["classes"] == ["no", "yes"]
    assert by_features["probabilities"][0] == pytest.approx(by_csv["probabilities"][0])
    assert sum(by_features["probabilities"][0]) == pytest.approx(1)
    assert by_features["model_version"]


def test_missing_values_and_unseen_categories_are_served(laptop: Laptop, deployed: str) -> None:
    answer = invoke(laptop, "churn", {"records": [{"age": None, "income": 2000, "plan": "never seen"}]})
    assert answer["predictions"][0] in ("yes", "no")


@pytest.mark.parametrize(
    ("body", "content_type", "named"),
    [
        ({"features": [[30, 2500.0]]}, "application/json", "3"),
        ({"records": [{"age": 30, "income": 1, "plan": "pro", "colour": "red"}]}, "application/json", "colour"),
        ({"features": [["old", 2500.0, "pro"]]}, "application/json", "age"),
        ("{not json", "application/json", "JSON"),
        ("30,much,pro\n", "text/csv", "income"),
    ],
)
def test_bad_input_gets_a_4xx_that_says_where(
    laptop: Laptop, deployed: str, body: Any, content_type: str, named: str
) -> None:
    with pytest.raises(ClientError) as refused:
        invoke(laptop, "churn", body, content_type)
    response = refused.value.response
    assert 400 <= response["OriginalStatusCode"] < 500
    assert named in response["OriginalMessage"]


def test_a_short_load_test_proposes_a_target_and_the_hosting_is_compared_from_what_it_did(
    deployed: str, mlp: Mlp
) -> None:
    # A bound that no endpoint keeps ends it after its first step.
    tested = mlp("loadtest", "churn", "--seconds", "2", "--p99-ms", "0.1")
    assert "is above 0.1 ms" in tested
    assert "there is nothing to propose" in tested

    def compared() -> dict[str, Any] | None:
        said = json.loads(mlp("hosting", "churn", "--json"))
        return said if Decimal(said["requests_per_day"]) > 0 else None

    said = eventually(compared, 60, "CloudWatch has no requests of the load test")
    assert {one["kind"] for one in said["options"]} == {"real-time", "serverless", "scale-to-zero", "asynchronous"}
    assert 0 < Decimal(said["workload"]["model_seconds"]) < 1
    few = mlp("hosting", "churn", "--requests-per-day", "100")
    assert "Serverless (2 GB) is the cheapest" in few
    assert "--move-to serverless" in few


def test_ten_copies_of_an_event_in_any_order_start_one_job(laptop: Laptop, deployed: str) -> None:
    key = f"{names.DATASETS_PREFIX}churn/März 50%+1 customers.csv"
    stored = laptop.s3.head_object(Bucket=laptop.connection.data_bucket, Key=key)
    detail = {
        "version": "0",
        "bucket": {"name": laptop.connection.data_bucket},
        "object": {"key": key, "size": stored["ContentLength"], "etag": stored["ETag"].strip('"'), "sequencer": "0A"},
        "request-id": "R",
        "requester": "123456789012",
        "source-ip-address": "127.0.0.1",
        "reason": "PutObject",
    }
    queue = laptop.client("sqs").list_queues(QueueNamePrefix=STACK)["QueueUrls"]
    drops = next(url for url in queue if "dead" not in url.lower() and "drop" in url.lower())
    event = {
        "version": "0",
        "id": "c",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "123456789012",
        "time": "2026-11-23T00:00:00Z",
        "region": "us-east-1",
        "resources": [],
        "detail": detail,
    }
    before = laptop.sagemaker.list_training_jobs(NameContains=f"{STACK}-churn-", MaxResults=100)
    for n in range(10):
        laptop.client("sqs").send_message(QueueUrl=drops, MessageBody=json.dumps({**event, "id": f"copy-{n}"}))
    laptop.function_entry("start-training", "Skip")
    time.sleep(2)
    after = laptop.sagemaker.list_training_jobs(NameContains=f"{STACK}-churn-", MaxResults=100)
    assert len(before["TrainingJobSummaries"]) == len(after["TrainingJobSummaries"]) == 1


def test_functions_log_decisions_with_reasons_to_cloudwatch(laptop: Laptop, deployed: str) -> None:
    for function in ("start-training", "deploy-model", "configure-autoscaling"):
        events = laptop.connection.logs.filter_log_events(
            logGroupName=f"/aws/lambda/{STACK}-{function}", filterPattern='"decision"'
        )["events"]
        records = [json.loads(event["message"]) for event in events]
        assert any(record["message"].endswith(".") for record in records), function


def test_an_interrupted_spot_job_resumes_and_completes(laptop: Laptop) -> None:
    laptop.put(
        "resumed", "job.json", json.dumps({"hyperparameters": {"network": "mlp", "epochs": 100, "patience": 100}})
    )
    laptop.put("resumed", "train.csv", customers(3000, seed=2))
    job_name = laptop.verdict("resumed")["job_name"]

    def second_epoch() -> bool | None:
        try:
            events = laptop.connection.logs.filter_log_events(
                logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=job_name
            )["events"]
        except ClientError:
            return None
        return any("epoch=2 " in event["message"] for event in events) or None

    eventually(second_epoch, 60, "training never reached its second epoch")
    laptop.post("/_laptop/interrupt", {"training_job_name": job_name})
    job = laptop.job_end(job_name, 90)
    states = [transition["Status"] for transition in job["SecondaryStatusTransitions"]]
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert "Interrupted" in states
    assert states.count("Training") == 2
    log = laptop.connection.logs.filter_log_events(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=job_name
    )["events"]
    first_epochs = [event for event in log if "epoch=1 " in event["message"]]
    assert len(first_epochs) == 1, "the job began again instead of resuming"


def test_a_worse_version_is_kept_out_with_a_reason(laptop: Laptop, deployed: str) -> None:
    def config(dataset: str) -> str:
        found = laptop.sagemaker.describe_endpoint(EndpointName=names.endpoint(STACK, dataset))
        return str(found["EndpointConfigName"])

    before = config("churn")
    header, *rows = customers().splitlines()
    slipped = customers(slipped=True).splitlines()[1:]
    laptop.put("kept", "job.json", json.dumps({"label": "stays", "hyperparameters": {"network": "mlp", "epochs": 8}}))
    laptop.put("kept", "train.csv", "\n".join([header, *rows[:300]]))
    laptop.put("kept", "test.csv", "\n".join([header, *rows[300:]]))
    first = laptop.verdict("kept")["job_name"]
    laptop.endpoint_serving("kept", first)
    laptop.put("kept", "train.csv", "\n".join([header, *slipped[:300]]))
    second = laptop.verdict("kept")["job_name"]
    assert second != first
    laptop.job_end(second)

    def kept_out() -> dict[str, Any] | None:
        """Other tests on this laptop keep models out as well."""
        told = [one for one in laptop.get("/_laptop/events") if one.get("decision") == "KeepLiveModel"]
        return next((one for one in told if second in one["reason"]), None)

    eventually(kept_out, 60, f"{second} was not kept out")
    assert config("kept") == first
    assert config("churn") == before  # the other dataset's endpoint is untouched
    packages = laptop.sagemaker.list_model_packages(ModelPackageGroupName=names.endpoint(STACK, "kept"))
    statuses = sorted(package["ModelApprovalStatus"] for package in packages["ModelPackageSummaryList"])
    assert statuses == ["Approved", "Rejected"]


def test_real_time_moves_to_serverless_and_the_stand_in_answers_meanwhile(
    laptop: Laptop, tmp_path: Path, mlp: Mlp
) -> None:
    """The endpoint of the test above."""
    said = mlp("hosting", "kept", "--move-to", "serverless", "--memory-gb", "2")
    assert "First ml-platform-kept--stand-in is made and judged" in said
    laptop.function_entry("configure-autoscaling", f"{STACK}-kept is made anew, serverless", 60)
    laptop.function_entry("configure-autoscaling", "up to 5 requests at a time with 2 GB each", 60)
    assert len(predicted(laptop, "kept", tmp_path)) == 2
    said = mlp("hosting", "kept")
    assert "ml-platform-kept has moved; ml-platform-kept--stand-in goes when nobody has called it" in said
    assert "It is hosted serverless now" in said


def test_a_better_version_replaces_the_first_without_a_failed_request(laptop: Laptop) -> None:
    header, *rows = customers(900, seed=3).splitlines()
    slipped = customers(900, seed=3, slipped=True).splitlines()[1:]
    spec = json.dumps({"label": "stays", "hyperparameters": {"network": "mlp", "epochs": 12}})
    laptop.put("better", "job.json", spec)
    # The first model learns from few rows, half of them wrong; the second from all of them.
    laptop.put("better", "train.csv", "\n".join([header, *rows[:120], *slipped[120:200]]))
    laptop.put("better", "test.csv", "\n".join([header, *rows[700:]]))
    first = laptop.verdict("better")["job_name"]
    laptop.endpoint_serving("better", first)
    laptop.scaling_policies("better")
    stop = threading.Event()
    answers: list[str] = []
    failures: list[str] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                answers.append(invoke(laptop, "better", {"features": [[30, 2500.0, "pro"]]})["model_version"])
            except ClientError as error:
                failures.append(str(error))
            time.sleep(0.02)

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    try:
        laptop.put("better", "train.csv", "\n".join([header, *rows[:700]]))
        second = laptop.verdict("better")["job_name"]
        laptop.endpoint_serving("better", second)
        time.sleep(0.5)
    finally:
        stop.set()
        for thread in asking:
            thread.join()
    assert failures == []
    assert len(set(answers)) == 2, "both versions answered, one after the other"


def weights(laptop: Laptop, endpoint: str) -> dict[str, float]:
    """Of an endpoint in service; nothing while it is updated."""
    found = laptop.sagemaker.describe_endpoint(EndpointName=endpoint)
    variants = found["ProductionVariants"] if found["EndpointStatus"] == "InService" else []
    return {one["VariantName"]: round(one["CurrentWeight"], 4) for one in variants}


def test_two_models_share_the_traffic_are_compared_and_either_can_stay(
    laptop: Laptop, tmp_path: Path, mlp: Mlp
) -> None:
    """With the endpoint of the test above: the first of its models comes beside the second."""
    endpoint, runtime = names.endpoint(STACK, "better"), laptop.client("sagemaker-runtime")
    second = laptop.sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]

    def shared(live: float, challenger: float) -> None:
        wanted = {"AllTraffic": live, "Challenger": challenger}
        eventually(lambda: weights(laptop, endpoint) == wanted or None, 60, f"{live} to {challenger} is not the share")

    def ask(_: int) -> tuple[str, str]:
        body = json.dumps({"features": [[30, 2500.0, "pro"]]})
        answer = runtime.invoke_endpoint(EndpointName=endpoint, ContentType="application/json", Body=body)
        return answer["InvokedProductionVariant"], json.loads(answer["Body"].read())["model_version"]

    stop, failures = threading.Event(), list[str]()

    def ask_on() -> None:
        while not stop.wait(0.1):
            try:
                ask(0)
            except ClientError as error:
                failures.append(str(error))

    asking = threading.Thread(target=ask_on)
    asking.start()
    try:
        _try_both(laptop, endpoint, second, mlp, shared, ask, tmp_path / "labelled.csv")
    finally:
        stop.set()
        asking.join()
    assert failures == [], "whatever comes and goes, the endpoint answers"


def _try_both(
    laptop: Laptop,
    endpoint: str,
    second: str,
    mlp: Callable[..., str],
    shared: Callable[[float, float], None],
    ask: Callable[[int], tuple[str, str]],
    labelled: Path,
) -> None:
    assert "at most 0.5" in mlp("ab", "better", "1", "--weight", "0.6", fails=True)
    assert "is the live model itself" in mlp("ab", "better", "2", fails=True)
    assert "No A/B test runs" in mlp("ab", "better", fails=True)
    assert "better/1 comes beside" in mlp("ab", "better", "1", "--weight", "0.3")
    shared(0.7, 0.3)
    assert "challenger, 30 %" in mlp("models", "better")

    answered = Counter(map(ask, range(250)))
    [(_, first)] = answered.keys() - {("AllTraffic", second)}
    # 0.3 of 250, give or take five standard deviations of 2.9 %; nobody failed, and each variant has its own model
    assert abs(answered["Challenger", first] / 250 - 0.3) < 0.145
    said = eventually(
        lambda: said if "Neither fails a request" in (said := mlp("ab", "better")) else None, 60, "no requests seen"
    )
    assert "better/2 is live, and better/1 beside it with 30 % of the traffic" in said
    labelled.write_text(customers(600, seed=9))
    said = mlp("ab", "better", "--outcomes", str(labelled))
    assert "600 rows of labelled.csv, of which the column stays is right" in said
    assert "McNemar's exact test" in said

    assert "the live model alone gets this load" in mlp("loadtest", "better", "--seconds", "0.2", "--p99-ms", "0.1")
    assert "its challenger's are left out" in mlp("hosting", "better")

    assert "gets 10 % of the traffic" in mlp("ab", "better", "--weight", "0.1")
    shared(0.9, 0.1)
    assert "better/1 leaves" in mlp("ab", "better", "--drop")
    laptop.endpoint_serving("better", second)
    assert set(weights(laptop, endpoint)) == {"AllTraffic"}

    mlp("ab", "better", "1", "--weight", "0.5")
    shared(0.5, 0.5)
    assert "The A/B test of better/1 ends with that." in mlp("ab", "better", "--promote")
    laptop.endpoint_serving("better", first, 90)
    assert set(map(ask, range(10))) == {("AllTraffic", first)}
    alarms = laptop.client("cloudwatch").describe_alarms
    left = f"{endpoint}-Challenger"
    eventually(lambda: alarms(AlarmNamePrefix=left)["MetricAlarms"] == [] or None, 60, "the challenger's alarms stay")


def test_a_job_that_fails_says_in_one_sentence_why(laptop: Laptop) -> None:
    good = "".join(f"{i},{i % 7},{'a' if i % 3 else 'b'}\n" for i in range(900_000))
    laptop.put("spoilt", "spoilt.csv", "x,y,label\n" + good + "1,2\n")
    verdict = laptop.verdict("spoilt")
    assert verdict["verdict"] == "accepted", verdict
    job = laptop.job_end(verdict["job_name"])
    assert job["TrainingJobStatus"] == "Failed"
    assert "900002" in job["FailureReason"]
    assert laptop.inbox("900002")


def test_a_function_without_one_of_its_actions_is_refused_by_name(laptop: Laptop) -> None:
    iam = laptop.client("iam")
    function = laptop.client("lambda").get_function(FunctionName=f"{STACK}-start-training")["Configuration"]
    role = function["Role"].rsplit("/", 1)[-1]
    policy_name, document = next(
        (name, found)
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
        if "sagemaker:CreateTrainingJob"
        in json.dumps(found := iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"])
    )
    without = json.loads(json.dumps(document).replace("sagemaker:CreateTrainingJob", "sagemaker:NothingAtAll"))
    iam.put_role_policy(RoleName=role, PolicyName=policy_name, PolicyDocument=json.dumps(without))
    try:
        laptop.put("refused", "job.json", SHORT)
        laptop.put("refused", "data.csv", customers(100, seed=4))

        def refusal() -> dict[str, Any] | None:
            entries = laptop.get("/_laptop/events")
            refused = [entry for entry in entries if entry["kind"] == "refused"]
            return next((entry for entry in refused if "sagemaker:CreateTrainingJob" in json.dumps(entry)), None)

        assert "refused" in json.dumps(eventually(refusal, 60, "the call was not refused"))
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=policy_name, PolicyDocument=json.dumps(document))
    jobs = laptop.sagemaker.list_training_jobs(NameContains=f"{STACK}-refused-")
    assert jobs["TrainingJobSummaries"] == []


def test_a_dataset_version_is_the_fingerprint_of_its_keys_and_etags() -> None:
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    one, two = StoredObject("datasets/a/x.csv", '"e1"', 1, now), StoredObject("datasets/a/y.csv", "e2", 1, now)
    assert names.dataset_version([one, two]) == names.dataset_version([two, one])
    assert names.dataset_version([one]) != names.dataset_version([two])
