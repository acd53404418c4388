"""Inference components on the laptop: copies that go to none and come back, and instances that follow them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hosted_account import ROLE, Served, artifact, served, until

from laptop import inference_components

HOST, COMPONENT = "host", "model-one"
VARIANT = {
    "VariantName": "AllTraffic",
    "InstanceType": "ml.m5.large",  # 2 virtual CPUs, 8 GiB
    "InitialInstanceCount": 1,
    "ManagedInstanceScaling": {"Status": "ENABLED", "MinInstanceCount": 0, "MaxInstanceCount": 2},
}
SPECIFICATION = {
    "ModelName": "one",
    "ComputeResourceRequirements": {"NumberOfCpuCoresRequired": 1, "MinMemoryRequiredInMb": 512},
}
TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": f"inference-component/{COMPONENT}",
    "ScalableDimension": "sagemaker:inference-component:DesiredCopyCount",
}
ARN = f"arn:aws:sagemaker:us-east-1:123456789012:inference-component/{COMPONENT}"


def empty_config(laptop: Served, name: str, variant: dict[str, Any], **config: Any) -> None:
    create = laptop.sagemaker.create_endpoint_config
    create(EndpointConfigName=name, ProductionVariants=[variant], **{"ExecutionRoleArn": ROLE, **config})


@pytest.fixture(scope="module")
def laptop() -> Iterator[Served]:
    with served() as made:
        empty_config(made, HOST, VARIANT)
        made.endpoint(HOST)
        begin_component(made)
        settled(made)
        yield made


def begin_component(laptop: Served, name: str = COMPONENT, **specification: Any) -> None:
    laptop.sagemaker.create_inference_component(
        InferenceComponentName=name,
        EndpointName=HOST,
        VariantName="AllTraffic",
        Specification={**SPECIFICATION, **specification},
        RuntimeConfig={"CopyCount": 1},
    )


def settled(laptop: Served, name: str = COMPONENT) -> dict[str, Any]:
    describe = laptop.sagemaker.describe_inference_component
    described: dict[str, Any] = until(
        lambda: (
            (d := describe(InferenceComponentName=name))["InferenceComponentStatus"] in ("InService", "Failed") and d
        )
    )
    return described


def copies(laptop: Served, count: int) -> dict[str, Any]:
    laptop.sagemaker.update_inference_component_runtime_config(
        InferenceComponentName=COMPONENT, DesiredRuntimeConfig={"CopyCount": count}
    )
    return settled(laptop)


def instances(laptop: Served) -> int:
    (variant,) = laptop.describe(HOST)["ProductionVariants"]
    return int(variant["CurrentInstanceCount"])


def refused(call: Any, **params: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**params)
    assert caught.value.response["Error"]["Code"] in ("ValidationException", "ValidationError")
    return str(caught.value.response["Error"]["Message"])


def test_a_component_answers_from_a_process_of_its_own_and_must_be_named(laptop: Served) -> None:
    described = settled(laptop)
    assert described["InferenceComponentStatus"] == "InService"
    assert described["RuntimeConfig"] == {"DesiredCopyCount": 1, "CurrentCopyCount": 1}
    assert described["Specification"] == SPECIFICATION
    (listed,) = laptop.sagemaker.list_inference_components(EndpointNameEquals=HOST)["InferenceComponents"]
    assert listed["InferenceComponentName"] == COMPONENT
    (variant,) = laptop.describe(HOST)["ProductionVariants"]
    assert variant["ManagedInstanceScaling"] == VARIANT["ManagedInstanceScaling"]
    answer = laptop.invoke(HOST, InferenceComponentName=COMPONENT)
    assert answer["version"] == "one"
    os.kill(answer["pid"], 0)
    assert refused(laptop.invoke, name=HOST).startswith("Inference Component Name header is required for endpoints")
    assert "not found" in refused(laptop.invoke, name=HOST, InferenceComponentName="nobody")


def test_a_copy_that_dies_is_replaced(laptop: Served) -> None:
    first = laptop.invoke(HOST, InferenceComponentName=COMPONENT)["pid"]
    os.killpg(first, signal.SIGKILL)
    until(lambda: settled(laptop)["RuntimeConfig"]["CurrentCopyCount"] == 1 and answered(laptop) not in (None, first))


def answered(laptop: Served) -> int | None:
    try:
        return int(laptop.invoke(HOST, InferenceComponentName=COMPONENT)["pid"])
    except ClientError:
        return None


def test_instances_come_as_copies_need_them_and_are_billed_until_they_go(
    laptop: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert instances(laptop) == 1
    copies(laptop, 3)  # two fit on an instance, of which components may reserve 1 GiB
    assert instances(laptop) == 2
    described = copies(laptop, 5)
    assert described["RuntimeConfig"]["CurrentCopyCount"] == 3
    assert described["FailureReason"].startswith("There is not enough hardware resources on the instances")
    monkeypatch.setattr(inference_components, "IDLE_MINUTES", 0.1)
    copies(laptop, 1)
    until(lambda: instances(laptop) == 1)
    copies(laptop, 0)
    until(lambda: instances(laptop) == 0)

    def hours() -> float:
        return sum(
            line["usd"]
            for line in laptop.account.routes["GET /_laptop/bill"]({})
            if line["usage_type"] == "USE1-Host:ml.m5.large"
        )

    before = hours()
    assert before > 0
    laptop.account.clock.advance(3600)
    assert hours() == before  # nothing runs, nothing costs


def test_a_call_without_copies_fails_and_wakes_the_component(laptop: Served) -> None:
    copies(laptop, 0)
    laptop.scaling.register_scalable_target(**TARGET, MinCapacity=0, MaxCapacity=2)
    assert laptop.scaling.describe_scalable_targets(
        ServiceNamespace="sagemaker", ScalableDimension=TARGET["ScalableDimension"]
    )["ScalableTargets"]
    laptop.wake(TARGET, "NoCapacityInvocationFailures", "InferenceComponentName", COMPONENT)
    message = refused(laptop.invoke, name=HOST, InferenceComponentName=COMPONENT)
    assert message.startswith("Inference Component has no capacity to process this request. ApplicationAutoScaling may")
    until(lambda: answered(laptop))
    assert instances(laptop) == 1
    entry = laptop.entries("scaling", component=COMPONENT)[-1]
    assert (entry["before"], entry["after"]) == (0, 1)
    track = {
        "TargetValue": 5.0,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerInferenceComponentInvocationsPerCopy"},
    }
    put = laptop.scaling.put_scaling_policy
    alarms = put(
        **TARGET,
        PolicyName="track",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=track,
    )["Alarms"]
    assert len(alarms) == 2
    laptop.scaling.deregister_scalable_target(**TARGET)


def test_its_metrics_bear_its_name(laptop: Served) -> None:
    laptop.invoke(HOST, InferenceComponentName=COMPONENT)
    named = {"EndpointName": "", "VariantName": "", "InferenceComponentName": COMPONENT}
    until(lambda: laptop.datapoints(HOST, "InvocationsPerCopy", **named)["Sum"] >= 1)
    assert laptop.datapoints(HOST, "Invocations", **named)["Sum"] >= 1
    assert laptop.datapoints(HOST, "NoCapacityInvocationFailures", **named)["Sum"] >= 1
    used = laptop.datapoints(HOST, "MemoryUtilizationNormalized", "/aws/sagemaker/InferenceComponents", **named)
    assert 0 < used["Maximum"] < 50
    assert laptop.datapoints(HOST, "Invocations")["Sum"] >= 1  # and its variant's


def test_what_cannot_be_done_is_refused_in_sagemakers_words(laptop: Served) -> None:
    create = laptop.sagemaker.create_inference_component
    request = {
        "InferenceComponentName": "two",
        "EndpointName": HOST,
        "VariantName": "AllTraffic",
        "Specification": SPECIFICATION,
    }
    none = refused(create, **request, RuntimeConfig={"CopyCount": 0})
    assert none == "Inference components copy count an integer larger than 0."
    again = refused(create, **{**request, "InferenceComponentName": COMPONENT}, RuntimeConfig={"CopyCount": 1})
    assert again == f'Cannot create already existing inference component "{ARN}".'
    missing = refused(laptop.sagemaker.describe_inference_component, InferenceComponentName="nobody")
    assert missing.startswith("Could not find inference component")
    laptop.config("with-model", {"InstanceType": "ml.c5.large", "InitialInstanceCount": 1})
    managed = {**VARIANT, "ModelName": "one"}
    assert "only supported for inference component endpoints" in refused(
        laptop.sagemaker.create_endpoint_config, EndpointConfigName="no", ProductionVariants=[managed]
    )
    assert "ExecutionRoleArn is required" in refused(
        laptop.sagemaker.create_endpoint_config, EndpointConfigName="no", ProductionVariants=[VARIANT]
    )
    update = laptop.sagemaker.update_endpoint
    assert "between inference components" in refused(update, EndpointName=HOST, EndpointConfigName="with-model")
    variant = {**TARGET, "ResourceId": f"endpoint/{HOST}/variant/AllTraffic"}
    variant["ScalableDimension"] = "sagemaker:variant:DesiredInstanceCount"
    register = laptop.scaling.register_scalable_target
    assert "hosts inference components" in refused(register, **variant, MinCapacity=1, MaxCapacity=2)


def test_a_component_whose_model_does_not_come_up_fails_and_can_be_deleted(laptop: Served) -> None:
    laptop.model("broken", artifact("broken", program="raise RuntimeError('no torch today')"))
    begin_component(laptop, "broken", ModelName="broken")
    early = refused(laptop.sagemaker.delete_inference_component, InferenceComponentName="broken")
    assert early.endswith("while it is in state CREATE_IN_PROGRESS.")
    described = settled(laptop, "broken")
    assert described["InferenceComponentStatus"] == "Failed"
    assert "did not pass the ping health check" in described["FailureReason"]
    laptop.sagemaker.delete_inference_component(InferenceComponentName="broken")
    until(lambda: len(laptop.sagemaker.list_inference_components(EndpointNameEquals=HOST)["InferenceComponents"]) == 1)


def test_an_update_of_the_endpoint_keeps_its_components_where_they_are(laptop: Served) -> None:
    copies(laptop, 1)
    before = answered(laptop)
    empty_config(laptop, "bigger", {**VARIANT, "InstanceType": "ml.m5.xlarge"})
    laptop.sagemaker.update_endpoint(EndpointName=HOST, EndpointConfigName="bigger")
    assert laptop.settled(HOST)["EndpointConfigName"] == "bigger"
    assert answered(laptop) == before


def test_another_model_replaces_the_copies_one_by_one(laptop: Served) -> None:
    laptop.model("two")
    update = laptop.sagemaker.update_inference_component
    update(InferenceComponentName=COMPONENT, Specification={**SPECIFICATION, "ModelName": "two"})
    message = refused(laptop.sagemaker.delete_inference_component, InferenceComponentName=COMPONENT)
    assert message.endswith("while it is in state UPDATE_IN_PROGRESS.")
    settled(laptop)
    assert laptop.invoke(HOST, InferenceComponentName=COMPONENT)["version"] == "two"


def test_a_component_outlives_its_endpoint_and_keeps_its_name_until_it_is_deleted(laptop: Served) -> None:
    laptop.gone(HOST)
    described = laptop.sagemaker.describe_inference_component(InferenceComponentName=COMPONENT)
    assert described["InferenceComponentStatus"] == "InService"
    assert described["RuntimeConfig"]["CurrentCopyCount"] == 0
    laptop.sagemaker.delete_inference_component(InferenceComponentName=COMPONENT)
    until(lambda: laptop.sagemaker.list_inference_components()["InferenceComponents"] == [])
