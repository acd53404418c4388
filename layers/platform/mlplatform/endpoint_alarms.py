"""The CloudWatch alarms of an endpoint: those of one in service, and those that an update is rolled back by.

Metrics, units and dimensions: "Amazon SageMaker AI metrics in Amazon CloudWatch" (SageMaker developer guide). Their
names begin with the endpoint's, by which office hours find them and switch them off for the night.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlplatform import names, sleeping
from mlplatform.decisions import Request
from mlplatform.facts import CHALLENGER, DATASET_TAG, Endpoint, HostingKind
from mlplatform.instances import vcpus
from mlplatform.kinds import SLEEPERS
from mlplatform.settings import Settings

WATCHED = {
    HostingKind.REAL_TIME: ("latency", "errors", "cpu"),
    HostingKind.SERVERLESS: ("latency", "errors"),
    HostingKind.SCALE_TO_ZERO: ("latency", "errors"),
    HostingKind.ASYNCHRONOUS: ("queue", "errors", "cpu"),
}
QUEUE_SECONDS = 1800  # three times as long as an instance takes to start
LATENCY_SECONDS = 1
ERRORS = 10  # more of them in five minutes than that
OWN_NAMESPACE = "ml-platform"
WRONG_ANSWERS = "WrongAnswers"
# What an update is rolled back by: namespace, metric, statistic, threshold within a minute, and its meaning. A single
# error is enough: a model of this platform answers bad input with a 4xx, so that a 5xx is its own fault.
UPDATE_SIGNS = {
    "errors": ("AWS/SageMaker", "Invocation5XXErrors", "Sum", 0, "a request failed"),
    "latency": ("AWS/SageMaker", "ModelLatency", "Average", 1_000_000, "answers take more than a second"),
    "answers": (OWN_NAMESPACE, WRONG_ANSWERS, "Sum", 0, "the model's stored row is answered wrongly"),
}
CPU_PERCENT = 90  # of all cores; scaling begins far below, so that it had its time when this is reached


def endpoint_alarms(endpoint: Endpoint, settings: Settings) -> tuple[Request, ...]:
    """PutMetricAlarm for each alarm of an endpoint, which are those of its kind in WATCHED.

    A serverless endpoint has no CPU that could be too small; of what is queued nobody waits for a second, but for its
    turn ("Monitor asynchronous endpoint", SageMaker developer guide). Its errors are those of the model itself,
    Invocation5XXErrors, which that page has in its list of all metrics that an asynchronous endpoint publishes:
    InvocationFailures has what the model refuses as well, so that a caller's bad input would ring.
    """
    return tuple(_alarm(endpoint, what, settings) for what in WATCHED[endpoint.kind])


def _alarm(endpoint: Endpoint, what: str, settings: Settings) -> Request:
    dataset, variant = endpoint.tags[DATASET_TAG], endpoint.variant_name or names.VARIANT
    about = endpoint.name if variant == names.VARIANT else f"The challenger of {endpoint.name}"
    logs = f"its log: mlp logs {dataset}; the model before it: mlp rollback {dataset}"
    common = {
        "AlarmName": names.alarm(endpoint.name, what, variant),
        "Dimensions": request_dimensions(endpoint.name, endpoint.kind, variant),
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",  # an endpoint that nobody asks, or that is parked, has no numbers
        "AlarmActions": [settings.alerts_topic_arn],
        "Tags": names.tag_list(names.tags(settings.required_tags, stack=settings.stack_name, dataset=dataset)),
    }
    if what == "latency":
        return {
            **common,
            "AlarmDescription": f"{about} takes more than {LATENCY_SECONDS} s to answer; {logs}.",
            "Namespace": "AWS/SageMaker",
            "MetricName": "ModelLatency",  # in microseconds
            "Statistic": "Average",
            "Period": 60,
            "EvaluationPeriods": 5,
            "DatapointsToAlarm": 3,
            "Threshold": LATENCY_SECONDS * 1_000_000,
        }
    if what == "errors":
        return {
            **common,
            "AlarmDescription": f"{about} failed more than {ERRORS} requests in five minutes; {logs}.",
            "Namespace": "AWS/SageMaker",
            "MetricName": "Invocation5XXErrors",
            "Statistic": "Sum",
            "Period": 300,
            "EvaluationPeriods": 1,
            "Threshold": ERRORS,
        }
    if what == "queue":
        return {
            **common,
            "AlarmDescription": (
                f"A request has waited for more than {QUEUE_SECONDS // 60} minutes in the queue of {about}: it can't "
                f"start an instance, or is too small; {logs}."
            ),
            "Dimensions": sleeping.dimensions(endpoint),
            "Namespace": "AWS/SageMaker",
            "MetricName": "ApproximateAgeOfOldestRequest",  # in seconds
            "Statistic": "Maximum",
            "Period": 300,
            "EvaluationPeriods": 1,
            "Threshold": QUEUE_SECONDS,
        }
    cores = vcpus(endpoint.instance_type or "")
    return {
        **common,
        "AlarmDescription": (
            f"{about} has used more than {CPU_PERCENT} % of its {cores} cores for a quarter of an hour, on "
            f"all the instances that it has; allow it more, or larger ones, in job.json; {logs}."
        ),
        "Namespace": "/aws/sagemaker/Endpoints",
        "MetricName": "CPUUtilization",  # the sum over the cores, 0 to 100 % each
        "Statistic": "Average",
        "Period": 300,
        "EvaluationPeriods": 3,
        "Threshold": CPU_PERCENT * cores,
    }


def update_alarms(endpoint_name: str, config: str, dataset: str, settings: Settings) -> tuple[Request, ...]:
    """PutMetricAlarm for what rolls an update back, as UPDATE_SIGNS has it; they have to be there before it begins.

    With the dimension EndpointConfigName they see the new fleet alone ("Auto-Rollback Configuration and Monitoring",
    SageMaker developer guide): without it, trouble of the old fleet would end the update that is to mend it. They tell
    nobody, since SageMaker asks for their state, and what came of the update is told when it is over.
    """
    tags = names.tag_list(names.tags(settings.required_tags, stack=settings.stack_name, dataset=dataset))
    return tuple(
        {
            "AlarmName": names.update_alarm(config, what),
            "AlarmDescription": f"While {endpoint_name} is updated to {config}: {meaning}. Deleted after that.",
            "Namespace": namespace,
            "MetricName": metric,
            "Dimensions": [*variant, {"Name": "EndpointConfigName", "Value": config}],
            "Statistic": statistic,
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": threshold,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
            "ActionsEnabled": False,
            "Tags": tags,
        }
        for what, (namespace, metric, statistic, threshold, meaning) in UPDATE_SIGNS.items()
        for variant in [dimensions(endpoint_name) if namespace == "AWS/SageMaker" else dimensions(endpoint_name)[:1]]
    )


def wrong_answer(endpoint_name: str, config: str) -> Request:
    """PutMetricData: the new fleet of an update answered its model's stored row wrongly."""
    dimension = [*dimensions(endpoint_name)[:1], {"Name": "EndpointConfigName", "Value": config}]
    return {
        "Namespace": OWN_NAMESPACE,
        "MetricData": [{"MetricName": WRONG_ANSWERS, "Dimensions": dimension, "Value": 1, "Unit": "Count"}],
    }


def update_alarm_names(*configs: str | None) -> tuple[str, ...]:
    """Of these configs; None and repetitions are left out."""
    return tuple(names.update_alarm(one, what) for one in dict.fromkeys(filter(None, configs)) for what in UPDATE_SIGNS)


def others_alarms(endpoint: Endpoint) -> tuple[str, ...]:
    """Names of those that an endpoint of other kinds would have; none where it never was of another."""
    if names.KIND_TAG not in endpoint.tags:
        return ()
    own = {*WATCHED[endpoint.kind], *([sleeping.WAKE] if endpoint.kind in SLEEPERS else [])}
    known = dict.fromkeys((*(what for watched in WATCHED.values() for what in watched), sleeping.WAKE))
    return tuple(names.alarm(endpoint.name, what) for what in known if what not in own)


def challenger_alarms(endpoint_name: str) -> tuple[str, ...]:
    """Names of those that an endpoint has for the challenger of an A/B test."""
    return tuple(names.alarm(endpoint_name, what, CHALLENGER) for what in WATCHED[HostingKind.REAL_TIME])


def dimensions(endpoint_name: str, variant: str = names.VARIANT) -> list[dict[str, str]]:
    """Those of an endpoint's variant, whichever config it runs."""
    return [
        {"Name": "EndpointName", "Value": endpoint_name},
        {"Name": "VariantName", "Value": variant},
    ]


def request_dimensions(endpoint_name: str, kind: HostingKind, variant: str = names.VARIANT) -> list[dict[str, str]]:
    """Those of what counts an endpoint's requests: where it scales to zero, its inference component's, by its name."""
    if kind is HostingKind.SCALE_TO_ZERO:
        return [{"Name": "InferenceComponentName", "Value": endpoint_name}]
    return dimensions(endpoint_name, variant)


def differing(wanted: Iterable[Request], described: Iterable[Mapping[str, Any]]) -> tuple[Request, ...]:
    """The alarms that are missing or watch something else than wanted; `described` as DescribeAlarms has them.

    Whether their actions are switched on is left to people and to office hours, and tags are not described.
    """
    there = {one["AlarmName"]: one for one in described}
    return tuple(one for one in wanted if not _same(one, there.get(one["AlarmName"], {})))


def _same(wanted: Request, there: Mapping[str, Any]) -> bool:
    return all(_plain(there.get(key)) == _plain(value) for key, value in wanted.items() if key != "Tags")


def _plain(value: Any) -> Any:
    """Dimensions come in any order."""
    return sorted((one["Name"], one["Value"]) for one in value) if _is_dimensions(value) else value


def _is_dimensions(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, Mapping) for one in value)
