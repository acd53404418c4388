"""Asynchronous endpoints on the laptop: a queue that outlives its instances, answers in S3, notifications as AWS's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hosted_account import Served, served, until

ASYNC = "async"
RESOURCE = f"endpoint/{ASYNC}/variant/AllTraffic"
TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": RESOURCE,
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


@pytest.fixture(scope="module")
def laptop() -> Iterator[Served]:
    with served() as made:
        sns, sqs = made.account.client("sns"), made.account.client("sqs")
        queue = sqs.create_queue(QueueName="told")["QueueUrl"]
        topics = {}
        for name in ("SuccessTopic", "ErrorTopic"):
            topics[name] = sns.create_topic(Name=name)["TopicArn"]
            arn = "arn:aws:sqs:us-east-1:123456789012:told"
            sns.subscribe(TopicArn=topics[name], Protocol="sqs", Endpoint=arn)
        output = {
            "S3OutputPath": "s3://artifacts/answers/",
            "S3FailurePath": "s3://artifacts/failures",
            "NotificationConfig": {**topics, "IncludeInferenceResponseIn": ["SUCCESS_NOTIFICATION_TOPIC"]},
        }
        real_time = {"InstanceType": "ml.c5.large", "InitialInstanceCount": 1}
        made.config(ASYNC, real_time, AsyncInferenceConfig={"OutputConfig": output})
        assert made.endpoint(ASYNC)["EndpointStatus"] == "InService"
        made.queue_url = queue  # type: ignore[attr-defined]
        yield made


def ask(laptop: Served, body: bytes, **request: Any) -> dict[str, Any]:
    laptop.s3.put_object(Bucket="artifacts", Key="asked/one.json", Body=body)
    named = {"ContentType": "application/json", "InputLocation": "s3://artifacts/asked/one.json", **request}
    answered: dict[str, Any] = laptop.runtime.invoke_endpoint_async(EndpointName=ASYNC, **named)
    assert answered["ResponseMetadata"]["HTTPStatusCode"] == 202
    return answered


def stored(laptop: Served, uri: str) -> bytes:
    """The object, once it is there."""
    key = uri.removeprefix("s3://artifacts/")

    def read() -> bytes | None:
        try:
            return bytes(laptop.s3.get_object(Bucket="artifacts", Key=key)["Body"].read())
        except laptop.s3.exceptions.NoSuchKey:
            return None

    return bytes(until(read))


def told(laptop: Served, inference_id: str) -> dict[str, Any]:
    """The notification of that request, out of the queue that both topics feed."""
    sqs = laptop.account.client("sqs")

    def read() -> dict[str, Any] | None:
        for message in sqs.receive_message(QueueUrl=laptop.queue_url).get("Messages", []):  # type: ignore[attr-defined]
            body: dict[str, Any] = json.loads(json.loads(message["Body"])["Message"])
            if body["inferenceId"] == inference_id:
                return body
        return None

    found: dict[str, Any] = until(read)
    return found


def refused(call: Any, **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def test_the_answer_goes_to_s3_and_the_topic_hears_of_it(laptop: Served) -> None:
    answered = ask(laptop, b"[]", InferenceId="first", Accept="application/json")
    assert answered["InferenceId"] == "first"
    assert answered["OutputLocation"].startswith("s3://artifacts/answers/")
    assert answered["FailureLocation"].startswith("s3://artifacts/failures/")
    assert json.loads(stored(laptop, answered["OutputLocation"]))["version"] == "one"
    message = told(laptop, "first")
    assert message["invocationStatus"] == "Completed"
    assert message["requestParameters"] == {
        "accept": "application/json",
        "contentType": "application/json",
        "endpointName": ASYNC,
        "inputLocation": "s3://artifacts/asked/one.json",
    }
    response = {"contentType": "application/json", "outputLocation": answered["OutputLocation"]}
    assert message["responseParameters"] == response
    assert message["responseBody"]["encoding"] == "BASE64"
    assert (message["eventSource"], message["eventName"]) == ("aws:sagemaker", "InferenceResult")


def test_what_the_model_refuses_or_cannot_be_read_goes_to_the_failure_path_and_the_error_topic(laptop: Served) -> None:
    answered = ask(laptop, b"bad", InferenceId="wrong")
    assert stored(laptop, answered["FailureLocation"]) == b"row 1 has no columns"
    message = told(laptop, "wrong")
    assert message["invocationStatus"] == "Failed"
    assert message["failureReason"].startswith("ClientError: Received client error (400) from model.")
    assert message["failureLocation"] == answered["FailureLocation"]
    missing = ask(laptop, b"", InferenceId="missing", InputLocation="s3://artifacts/asked/nothing.json")
    assert b"Unable to download s3://artifacts/asked/nothing.json" in stored(laptop, missing["FailureLocation"])


def test_a_request_can_carry_its_body_and_name_its_answer(laptop: Served) -> None:
    answered = laptop.runtime.invoke_endpoint_async(
        EndpointName=ASYNC, Body=b"[]", ContentType="application/json", S3OutputPathExtension="today", Filename="a.json"
    )
    assert answered["OutputLocation"] == "s3://artifacts/answers/today/a.json"
    stored(laptop, answered["OutputLocation"])


def test_each_kind_of_endpoint_is_called_by_its_own_operation(laptop: Served) -> None:
    code, message = refused(laptop.invoke, name=ASYNC)
    assert (code, "call InvokeEndpointAsync" in message) == ("ValidationError", True)
    call = laptop.runtime.invoke_endpoint_async
    assert refused(call, EndpointName="nobody", InputLocation="s3://artifacts/x")[0] == "ValidationError"
    both = {"Body": b"[]", "InputLocation": "s3://artifacts/x"}
    assert "exactly one" in refused(call, EndpointName=ASYNC, **both)[1]
    laptop.config("real-time", {"InstanceType": "ml.c5.large", "InitialInstanceCount": 1})
    update = laptop.sagemaker.update_endpoint
    _, message = refused(update, EndpointName=ASYNC, EndpointConfigName="real-time")
    assert "between asynchronous and real-time" in message


def test_an_update_loses_no_request(laptop: Served) -> None:
    asked = [ask(laptop, b"slow") for _ in range(3)]
    laptop.model("two")
    config = laptop.sagemaker.describe_endpoint_config(EndpointConfigName=ASYNC)["AsyncInferenceConfig"]
    later = {"ModelName": "two", "InstanceType": "ml.c5.large", "InitialInstanceCount": 1}
    laptop.config("later", later, AsyncInferenceConfig=config)
    laptop.sagemaker.update_endpoint(EndpointName=ASYNC, EndpointConfigName="later")
    asked += [ask(laptop, b"[]") for _ in range(2)]
    assert laptop.settled(ASYNC)["EndpointConfigName"] == "later"
    asked += [ask(laptop, b"[]")]
    versions = [json.loads(stored(laptop, one["OutputLocation"]))["version"] for one in asked]
    assert versions[-1] == "two"
    assert set(versions) == {"one", "two"}


def test_the_queue_is_kept_while_no_instance_runs_and_a_step_policy_wakes_the_endpoint(laptop: Served) -> None:
    laptop.scaling.register_scalable_target(**TARGET, MinCapacity=0, MaxCapacity=2)
    asleep = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 0}]
    laptop.sagemaker.update_endpoint_weights_and_capacities(EndpointName=ASYNC, DesiredWeightsAndCapacities=asleep)
    assert laptop.settled(ASYNC)["ProductionVariants"][0]["CurrentInstanceCount"] == 0
    expiring = ask(laptop, b"[]", InferenceId="expiring", RequestTTLSeconds=60)
    laptop.account.clock.advance(61)
    assert b"RequestTTLSeconds 60" in stored(laptop, expiring["FailureLocation"])
    waiting = ask(laptop, b"[]")
    laptop.wake(TARGET, "HasBacklogWithoutCapacity", "EndpointName", ASYNC)
    assert json.loads(stored(laptop, waiting["OutputLocation"]))["version"] == "two"
    assert laptop.settled(ASYNC)["ProductionVariants"][0]["CurrentInstanceCount"] == 1
    assert laptop.entries("scaling", endpoint=ASYNC)[-1]["after"] == 1


def test_its_metrics_are_those_of_an_asynchronous_endpoint_and_no_others(laptop: Served) -> None:
    whole = {"VariantName": ""}
    assert laptop.datapoints(ASYNC, "HasBacklogWithoutCapacity", **whole)["Maximum"] == 1
    assert laptop.datapoints(ASYNC, "ApproximateBacklogSize", **whole)["Maximum"] >= 1
    assert laptop.datapoints(ASYNC, "ApproximateBacklogSizePerInstance", **whole)["SampleCount"] >= 1
    # answered: the first, the one with its body, six of the update, the one that woke the endpoint; and three failed
    until(lambda: laptop.datapoints(ASYNC, "InvocationsProcessed")["Sum"] == 12)
    assert laptop.datapoints(ASYNC, "InvocationFailures")["Sum"] == 3
    assert laptop.datapoints(ASYNC, "ExpiredRequests")["Sum"] == 1
    assert laptop.datapoints(ASYNC, "TimeInBacklog")["Maximum"] > 50_000  # microseconds: a process had to start
    names = {metric["MetricName"] for metric in laptop.cloudwatch.list_metrics()["Metrics"]}
    assert not names & {"Invocations", "OverheadLatency", "InvocationsPerInstance"}
    laptop.gone(ASYNC)
