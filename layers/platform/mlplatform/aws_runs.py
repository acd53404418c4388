"""What runs in the stack and costs money by the hour, and what ran: facts for the meter, and for what a tuning spends.

Facts of what costs money by the hour are pages of what exists, never a call per endpoint or job.

SageMaker's Search returns endpoints with their instance counts, and jobs with their billable seconds, tags included,
a hundred to a page ("Search", SageMaker API reference; tag filters are spelled `Tags.<key>`, "Filter", same place). The
trials of a tuning job are training jobs and carry its tags ("CreateHyperParameterTuningJob", same place).
It says neither what an endpoint's instances are, which its config does, once and for all, nor anything of
notebooks and processing jobs: those are found by their tags, and described one by one, because there are few.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from mlplatform.aws_calls import Call, pages, tagged_resources
from mlplatform.capacity import wanted_type
from mlplatform.endpoint_alarms import dimensions
from mlplatform.errors import AwsError
from mlplatform.facts import STACK_TAG, Run, SpendMonth
from mlplatform.holds import day_of, month_start
from mlplatform.names import run_key

Configs = Mapping[str, tuple[tuple[str, str], ...]]

SERVERLESS = "serverless-"  # and the GB of memory, in place of the instance type
# EndpointStatus, DescribeEndpoint in the SageMaker API reference: the states in which instances run.
_BILLED = {"Creating", "Updating", "SystemUpdating", "RollingBack", "InService", "UpdateRollbackFailed"}
_PAGE = 100
_RUNNING_JOB = ("InProgress", "Stopping")


def read_runs(
    call: Call, stack: str, month: SpendMonth, since: datetime, now: datetime
) -> tuple[tuple[Run, ...], SpendMonth]:
    """What runs in the stack now, and the jobs that ended after `since`; and the month with newly seen configs in it.

    `call` makes one AWS call by service and operation, spelled as in Python, and raises AwsError.
    """
    endpoints = [one["Endpoint"] for one in search(call, "Endpoint", {"Filters": [_of_stack(stack)]})]
    billed = [one for one in endpoints if one["EndpointStatus"] in _BILLED]
    configs = _configs(
        call, month.configs, {one["EndpointConfigName"] for one in billed if "EndpointConfigName" in one}
    )
    used = _used(call, billed, configs, month_start(month.month), now)
    runs = [
        *(replace(_endpoint(one, configs), gb_seconds=used.get(one["EndpointName"])) for one in billed),
        *(training_run(one) for one in _jobs(call, stack, since)),
        *_tagged(call, stack, since),
    ]
    return tuple(runs), replace(month, configs=configs)


def _of_stack(stack: str) -> dict[str, str]:
    return {"Name": f"Tags.{STACK_TAG}", "Operator": "Equals", "Value": stack}


def _jobs(call: Call, stack: str, since: datetime) -> list[Mapping[str, Any]]:
    """A job that runs for hours says nothing new meanwhile, so those that run are asked for by their status."""
    filters = (
        {
            "Name": "LastModifiedTime",
            "Operator": "GreaterThanOrEqualTo",
            # In this format and no other ("Filter", SageMaker API reference), so without a zone
            "Value": f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%S}",
        },
        {"Name": "TrainingJobStatus", "Operator": "Equals", "Value": "InProgress"},
    )
    found = {
        one["TrainingJob"]["TrainingJobArn"]: one["TrainingJob"]
        for chosen in filters
        for one in search(call, "TrainingJob", {"Filters": [_of_stack(stack), chosen]})
    }
    return list(found.values())


def search(call: Call, resource: str, expression: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Everything of a kind that SageMaker's Search finds."""
    token: dict[str, str] = {}
    while True:
        page = call("sagemaker", "search", Resource=resource, SearchExpression=expression, MaxResults=_PAGE, **token)
        yield from page.get("Results", [])
        if not page.get("NextToken"):
            return
        token = {"NextToken": page["NextToken"]}


def _configs(call: Call, known: Configs, wanted: Iterable[str]) -> Configs:
    found = {name: known[name] for name in wanted if name in known}
    for name in sorted(set(wanted) - found.keys()):
        config = call("sagemaker", "describe_endpoint_config", EndpointConfigName=name)
        found[name] = tuple(
            (variant["VariantName"], wanted_type(variant) or _memory(variant))
            for variant in (*config["ProductionVariants"], *config.get("ShadowProductionVariants", ()))
        )
    return found


def _memory(variant: Mapping[str, Any]) -> str:
    return f"{SERVERLESS}{variant.get('ServerlessConfig', {}).get('MemorySizeInMB', 0) // 1024}"


def _used(
    call: Call, endpoints: Iterable[Mapping[str, Any]], configs: Configs, start: datetime, now: datetime
) -> dict[str, dict[str, Decimal]]:
    """What the requests of each serverless endpoint took, by UTC day since the month began or it was made.

    The model's time and SageMaker's around it, which is counted as billed to be on the safe side. So cold starts are
    counted too, which OverheadLatency contains (docs.aws.amazon.com/sagemaker/latest/dg/
    serverless-endpoints-monitoring.html); whether they are billed is not documented.
    Of the whole month at each tick, so that nothing is added up: a tick that comes twice changes nothing.
    """
    found: dict[str, dict[str, Decimal]] = {}
    for endpoint in endpoints:
        sizes = [
            kind for _, kind in configs.get(endpoint.get("EndpointConfigName", ""), ()) if kind.startswith(SERVERLESS)
        ]
        if not sizes:
            continue
        name, gb = endpoint["EndpointName"], Decimal(sizes[0].removeprefix(SERVERLESS))
        days: dict[str, Decimal] = {}
        results = pages(
            call,
            "MetricDataResults",
            "cloudwatch",
            "get_metric_data",
            MetricDataQueries=[
                {
                    "Id": metric.lower(),
                    "MetricStat": {
                        "Metric": {
                            "Namespace": "AWS/SageMaker",
                            "MetricName": metric,  # in microseconds
                            "Dimensions": dimensions(name),
                        },
                        "Period": 3600,
                        "Stat": "Sum",
                    },
                }
                for metric in ("ModelLatency", "OverheadLatency")
            ],
            StartTime=max(start, endpoint["CreationTime"].astimezone(UTC).replace(minute=0, second=0, microsecond=0)),
            EndTime=now,
        )
        for result in results:
            for at, value in zip(result["Timestamps"], result["Values"], strict=True):
                day = day_of(at)
                days[day] = days.get(day, Decimal(0)) + Decimal(str(value)) / 10**6 * gb
        found[name] = days
    return found


def _endpoint(found: Mapping[str, Any], configs: Configs) -> Run:
    types = dict(configs.get(found.get("EndpointConfigName", ""), ()))
    created = found["CreationTime"].astimezone(UTC)
    return Run(
        key=run_key(found["EndpointArn"], created),
        use="hosting",
        name=found["EndpointName"],
        tags=_tags(found),
        started=created,
        ended=None,
        fleet=tuple(
            part
            for variant in (*found.get("ProductionVariants", ()), *found.get("ShadowProductionVariants", ()))
            if not (kind := types.get(variant["VariantName"], SERVERLESS)).startswith(SERVERLESS)
            for part in _instances(variant, kind)
        ),
    )


def _instances(variant: Mapping[str, Any], wanted: str) -> tuple[tuple[str, int], ...]:
    """Types and counts of what a variant runs on. Of instance pools ProductionVariantSummary has the number in each
    (InstancePoolSummary, SageMaker API reference), and Search answers with the same shape; that it fills it in was not
    seen on AWS, so that without it all are taken to be of the wanted type."""
    pools = tuple(
        (one["InstanceType"], one["CurrentInstanceCount"])
        for one in variant.get("InstancePools", ())
        if one.get("CurrentInstanceCount")
    )
    return pools or ((wanted, variant.get("CurrentInstanceCount", 0)),)


def training_run(found: Mapping[str, Any]) -> Run:
    """A training job as Search finds it."""
    resources = found["ResourceConfig"]
    groups = resources.get("InstanceGroups") or [resources]  # a heterogeneous cluster has groups instead
    running = found["TrainingJobStatus"] in _RUNNING_JOB
    return Run(
        key=found["TrainingJobArn"],
        use="training",
        name=found["TrainingJobName"],
        tags=_tags(found),
        started=_moment(found, "TrainingStartTime"),
        ended=None if running else _moment(found, "TrainingEndTime", "LastModifiedTime"),
        fleet=tuple((group["InstanceType"], group["InstanceCount"]) for group in groups if "InstanceType" in group),
        billable_seconds=None if running else found.get("BillableTimeInSeconds"),
        spot=bool(found.get("EnableManagedSpotTraining")),
    )


def _tagged(call: Call, stack: str, since: datetime) -> Iterator[Run]:
    """Processing jobs and notebook instances, which people start beside the platform and tag as the stack's."""
    kinds = ["sagemaker:processing-job", "sagemaker:notebook-instance"]
    for arn, tags in tagged_resources(call, kinds, {STACK_TAG: stack}).items():
        run = _described(call, arn, tags, since)
        if run is not None:
            yield run


def _described(call: Call, arn: str, tags: Mapping[str, str], since: datetime) -> Run | None:
    kind, _, name = arn.rsplit(":", 1)[-1].partition("/")
    try:
        if kind == "notebook-instance":
            return _notebook(call("sagemaker", "describe_notebook_instance", NotebookInstanceName=name), tags)
        return _processing(call("sagemaker", "describe_processing_job", ProcessingJobName=name), tags, since)
    except AwsError as error:
        if error.code in {"ValidationException", "ResourceNotFound", "RecordNotFound"}:
            return None  # tags are remembered for a while after what they were on is gone
        raise


def _notebook(found: Mapping[str, Any], tags: Mapping[str, str]) -> Run | None:
    if found["NotebookInstanceStatus"] not in {"InService", "Updating"}:
        return None
    # It says when it was last started or changed, not when it was last stopped: counted from then.
    started = found["LastModifiedTime"].astimezone(UTC)
    return Run(
        key=f"{found['NotebookInstanceArn']} {started.isoformat(timespec='seconds')}",
        use="notebook",
        name=found["NotebookInstanceName"],
        tags=tags,
        started=started,
        ended=None,
        fleet=((found["InstanceType"], 1),),
    )


def _processing(found: Mapping[str, Any], tags: Mapping[str, str], since: datetime) -> Run | None:
    ended = _moment(found, "ProcessingEndTime")
    if ended is not None and ended < since:
        return None
    cluster = found["ProcessingResources"]["ClusterConfig"]
    return Run(
        key=found["ProcessingJobArn"],
        use="processing",
        name=found["ProcessingJobName"],
        tags=tags,
        started=_moment(found, "ProcessingStartTime"),
        ended=ended,
        fleet=((cluster["InstanceType"], cluster["InstanceCount"]),),
    )


def _moment(found: Mapping[str, Any], *names: str) -> datetime | None:
    moment: datetime | None = next((found[name] for name in names if found.get(name)), None)
    return None if moment is None else moment.astimezone(UTC)


def _tags(found: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}
