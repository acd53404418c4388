"""What an endpoint in service gets. Pure: no AWS."""

from __future__ import annotations

import pytest

import builders
from builders import endpoint
from laptop.service_model import model, validate
from mlplatform import names
from mlplatform.autoscaling import check_endpoint, plan_autoscaling
from mlplatform.decisions import ConfigureAutoscaling
from mlplatform.facts import Prediction
from mlplatform.instances import HOSTING, vcpus

RIGHT = Prediction(True, "as expected")


def configured(instance_type: str = "ml.c5.large") -> ConfigureAutoscaling:
    decision = plan_autoscaling(endpoint(instance_type=instance_type), RIGHT, builders.settings())
    assert isinstance(decision, ConfigureAutoscaling), decision.reason
    return decision


def test_an_endpoint_runs_the_wanted_model_whatever_sagemaker_calls_its_config() -> None:
    scaled = endpoint(config_name="7f4e1944-1817-4891-9bef-e055a90787a4")
    assert check_endpoint(scaled, builders.settings()) is None


def test_the_requests_are_ones_that_application_auto_scaling_accepts() -> None:
    decision = configured()
    assert validate("application-autoscaling", "RegisterScalableTarget", decision.target) == []
    for policy in decision.policies:
        assert validate("application-autoscaling", "PutScalingPolicy", policy) == []


def test_scaling_follows_invocations_and_cpu_with_the_default_cooldowns() -> None:
    invocations, cpu = (policy["TargetTrackingScalingPolicyConfiguration"] for policy in configured().policies)
    metric = invocations["PredefinedMetricSpecification"]["PredefinedMetricType"]
    assert (metric, invocations["TargetValue"]) == ("SageMakerVariantInvocationsPerInstance", 1000.0)
    assert cpu["CustomizedMetricSpecification"]["Namespace"] == "/aws/sagemaker/Endpoints"
    assert cpu["CustomizedMetricSpecification"]["Statistic"] == "Average"
    for policy in (invocations, cpu):
        assert (policy["ScaleOutCooldown"], policy["ScaleInCooldown"]) == (60, 300)


@pytest.mark.parametrize(
    ("instance_type", "target"),
    [("ml.c5.large", 140.0), ("ml.m5.xlarge", 280.0), ("ml.c5.2xlarge", 560.0), ("ml.c4.8xlarge", 2520.0)],
)
def test_the_cpu_target_counts_every_core_because_the_metric_adds_them_up(instance_type: str, target: float) -> None:
    """70 % of 2, 4, 8 and 36 cores."""
    cpu = configured(instance_type).policies[1]["TargetTrackingScalingPolicyConfiguration"]
    assert cpu["TargetValue"] == target


@pytest.mark.parametrize(
    ("instance_type", "cores"),
    [
        ("ml.m5.24xlarge", 96),
        ("ml.c5.9xlarge", 36),
        ("ml.c5.18xlarge", 72),
        ("ml.g4dn.16xlarge", 64),
        ("ml.p3.2xlarge", 8),
        ("ml.t2.medium", 2),
    ],
)
def test_the_cores_of_a_type_are_those_of_ec2(instance_type: str, cores: int) -> None:
    assert vcpus(instance_type) == cores


def test_every_type_that_hosts_has_its_cores() -> None:
    assert all(vcpus(instance_type) >= 1 for instance_type in HOSTING)


def test_no_burstable_type_is_scaled_and_all_of_them_are_known() -> None:
    burstable = [one for one in model("sagemaker").shape_for("ProductionVariantInstanceType").enum if ".t" in one]
    burstable = [one for one in burstable if not one.startswith("ml.trn")]
    assert burstable
    for instance_type in burstable:
        decision = plan_autoscaling(endpoint(instance_type=instance_type), RIGHT, builders.settings())
        assert isinstance(decision, ConfigureAutoscaling)
        assert (decision.target, decision.policies) == ({}, ())
        assert instance_type in decision.reason


NO_MACHINES = (
    "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. Please retry using a "
    "different ML instance type or after some time."
)


@pytest.mark.parametrize(
    ("status", "wanted", "what"),
    [
        ("InService", builders.JOB, "The update of endpoint ml-platform-churn"),
        ("Failed", builders.LIVE_JOB, "ml-platform-churn is Failed and serves nobody"),
    ],
)
def test_an_update_or_a_start_that_found_no_machines_says_how_to_try_again(status: str, wanted: str, what: str) -> None:
    tags = endpoint().tags | {names.WANTED_TAG: wanted, names.ASKED_TAG: wanted}
    told = check_endpoint(endpoint(failure_reason=NO_MACHINES, status=status, tags=tags), builders.settings())
    assert told is not None
    assert what in told.reason
    assert "That passes with time." in told.reason
    assert "mlp models churn" in told.reason
