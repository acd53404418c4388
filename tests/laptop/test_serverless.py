"""Serverless endpoints on the laptop: cold starts that are real, limits that hold, and a bill by the millisecond."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hosted_account import Served, artifact, served, until

from laptop import serverless

CONFIG = {"MemorySizeInMB": 2048, "MaxConcurrency": 2}
HUNGRY = """
import json, os
HELD = []
def model_fn(model_dir):
    return None
def answer(model, body, content_type, accept):
    if body == b"eat":
        HELD.append(bytearray(os.urandom(1)) * (1100 * 1024**2))
    return 200, json.dumps({"pid": os.getpid()}).encode(), accept
"""


@pytest.fixture(scope="module")
def laptop() -> Iterator[Served]:
    with served() as made:
        made.config("serverless", {"ServerlessConfig": CONFIG})
        made.endpoint("quiet", "serverless")
        yield made


def refused(call: Any, **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_an_idle_endpoint_has_no_process_and_the_first_call_waits_for_a_real_one(laptop: Served) -> None:
    (variant,) = laptop.describe("quiet")["ProductionVariants"]
    assert variant["CurrentServerlessConfig"] == CONFIG
    assert variant["CurrentInstanceCount"] == 0
    assert not laptop.entries("serverless", endpoint="quiet")
    first = laptop.invoke("quiet")
    os.kill(first["pid"], 0)
    assert "cold start" in laptop.entries("serverless", endpoint="quiet")[0]["reason"]
    assert laptop.invoke("quiet")["pid"] == first["pid"]
    laptop.account.clock.advance(serverless.WARM_SECONDS + 1)
    until(lambda: len(laptop.entries("serverless", endpoint="quiet")) == 2)
    with pytest.raises(ProcessLookupError):
        os.kill(first["pid"], 0)
    assert laptop.invoke("quiet")["pid"] != first["pid"]


def test_a_call_beyond_the_concurrency_is_throttled_and_two_at_a_time_have_a_container_each(laptop: Served) -> None:
    with ThreadPoolExecutor(3) as pool:
        slow = [pool.submit(laptop.invoke, "quiet", b"slow") for _ in range(2)]
        time.sleep(0.2)
        code, _ = refused(laptop.invoke, name="quiet")
        pids = {one.result()["pid"] for one in slow}
    assert code == "ThrottlingException"
    assert len(pids) == 2


def test_four_mebibytes_are_the_most_that_a_request_may_have(laptop: Served) -> None:
    laptop.invoke("quiet", b"0" * 4 * 1024**2)
    code, message = refused(laptop.invoke, name="quiet", body=b"0" * (4 * 1024**2 + 1))
    assert code == "ValidationError"
    assert message.endswith("has oversize body.")


def test_its_metrics_are_those_of_a_serverless_endpoint_and_no_others(laptop: Served) -> None:
    laptop.invoke("quiet")
    assert laptop.datapoints("quiet", "ModelSetupTime")["Maximum"] > 50_000  # microseconds: a process really started
    assert 0 < laptop.datapoints("quiet", "ServerlessConcurrentExecutionsUtilization")["Maximum"] <= 1
    assert 0 < laptop.datapoints("quiet", "MemoryUtilization", "/aws/sagemaker/Endpoints")["Maximum"] < 50
    assert laptop.datapoints("quiet", "OverheadLatency")["Maximum"] > 50_000
    assert laptop.datapoints("quiet", "Invocations")["Sum"] >= 1
    names = {metric["MetricName"] for metric in laptop.cloudwatch.list_metrics()["Metrics"]}
    assert not names & {"InvocationsPerInstance", "CPUUtilization"}


def test_each_request_is_on_the_bill_with_the_tags_of_its_endpoint(laptop: Served) -> None:
    laptop.invoke("quiet", b"slow")  # half a second
    lines = {
        line["usage_type"]: line
        for line in laptop.account.routes["GET /_laptop/bill"]({})
        if line["tags"] == {"ml-platform:dataset": "quiet"}
    }
    assert lines.keys() == {"USE1-ServerlessInf:Mem-2GB", "USE1-Hst:Data-Bytes-In", "USE1-Hst:Data-Bytes-Out"}
    assert lines["USE1-ServerlessInf:Mem-2GB"]["usd"] >= 0.00002  # 0.5 s x 2 GB x 0.00002


def test_a_container_that_takes_more_memory_than_it_has_is_ended(laptop: Served) -> None:
    laptop.model("hungry", artifact("hungry", program=HUNGRY))
    small = {"ModelName": "hungry", "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}
    laptop.config("hungry", small)
    laptop.endpoint("hungry")
    first = laptop.invoke("hungry")["pid"]
    with contextlib.suppress(laptop.runtime.exceptions.ModelError):  # it may be ended before it can answer
        laptop.invoke("hungry", b"eat")
    until(lambda: any("MB, of 1024" in entry["reason"] for entry in laptop.entries("serverless", endpoint="hungry")))
    assert laptop.invoke("hungry")["pid"] != first
    laptop.gone("hungry")


def test_a_model_that_does_not_come_up_fails_the_endpoint_at_once(laptop: Served) -> None:
    laptop.model("broken", artifact("broken", program="raise RuntimeError('no torch today')"))
    laptop.config("broken", {"ModelName": "broken", "ServerlessConfig": CONFIG})
    described = laptop.endpoint("broken")
    assert described["EndpointStatus"] == "Failed"
    assert described["FailureReason"].startswith("Unable to successfully stand up your model within the allotted 180")
    laptop.gone("broken")


@pytest.mark.parametrize(
    ("variants", "config", "why"),
    [
        ([{"ServerlessConfig": {**CONFIG, "MemorySizeInMB": 1500}}], {}, "it is one of 1024, 2048, 3072"),
        ([{"ServerlessConfig": CONFIG, "InstanceType": "ml.c5.large"}], {}, "InstanceType can't be specified"),
        (
            [{"ServerlessConfig": CONFIG}, {"ServerlessConfig": CONFIG, "VariantName": "two"}],
            {},
            "multiple production variants",
        ),
        (
            [{"ServerlessConfig": CONFIG}],
            {
                "DataCaptureConfig": {
                    "EnableCapture": True,
                    "InitialSamplingPercentage": 100,
                    "DestinationS3Uri": "s3://artifacts/captured",
                    "CaptureOptions": [{"CaptureMode": "Input"}],
                }
            },
            "does not support data capture",
        ),
        (
            [{"ServerlessConfig": CONFIG}],
            {"VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}},
            "does not support VPC configuration",
        ),
        (
            [{"ServerlessConfig": CONFIG}],
            {"AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://artifacts/answers"}}},
            "does not support asynchronous inference",
        ),
        ([{"ServerlessConfig": {**CONFIG, "ProvisionedConcurrency": 3}}], {}, "at most MaxConcurrency, which is 2"),
    ],
)
def test_what_serverless_inference_does_not_have_is_refused_by_name(
    laptop: Served, variants: list[dict[str, Any]], config: dict[str, Any], why: str
) -> None:
    production = [{"VariantName": "AllTraffic", "ModelName": "one", **variant} for variant in variants]
    create = laptop.sagemaker.create_endpoint_config
    code, message = refused(create, EndpointConfigName="no", ProductionVariants=production, **config)
    assert code == "ValidationException"
    assert why in message


def test_it_can_become_real_time_once_but_never_the_other_way(laptop: Served) -> None:
    laptop.config("one-way", {"ServerlessConfig": CONFIG})
    laptop.endpoint("one-way")
    more = [{"VariantName": "AllTraffic", "ServerlessUpdateConfig": {"MaxConcurrency": 7}}]
    laptop.sagemaker.update_endpoint_weights_and_capacities(EndpointName="one-way", DesiredWeightsAndCapacities=more)
    (variant,) = laptop.settled("one-way")["ProductionVariants"]
    assert variant["CurrentServerlessConfig"]["MaxConcurrency"] == 7
    target = {"ServiceNamespace": "sagemaker", "ResourceId": "endpoint/one-way/variant/AllTraffic"}
    dimension = "sagemaker:variant:DesiredInstanceCount"
    register = laptop.scaling.register_scalable_target
    _, message = refused(register, **target, ScalableDimension=dimension, MinCapacity=1, MaxCapacity=2)
    assert "no instances to scale" in message
    laptop.config("real-time", {"InstanceType": "ml.c5.large", "InitialInstanceCount": 1})
    laptop.sagemaker.update_endpoint(EndpointName="one-way", EndpointConfigName="real-time")
    (variant,) = laptop.settled("one-way")["ProductionVariants"]
    assert variant["CurrentInstanceCount"] == 1
    assert "CurrentServerlessConfig" not in variant
    update = laptop.sagemaker.update_endpoint
    code, message = refused(update, EndpointName="one-way", EndpointConfigName="one-way")
    assert (code, message[:60]) == (
        "ValidationException",
        "Cannot update an instance-based endpoint to a serverless end",
    )
    laptop.gone("one-way")
