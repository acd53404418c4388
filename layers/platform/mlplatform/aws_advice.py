"""Reads what mlplatform.recommendations plans over: list calls in pages, and one batch of metrics.

Where AWS has no list that says it, one call per item remains: an endpoint's config (its instance type), a bucket's
lifecycle and tags, a cluster's node groups. A part that may not or cannot be read becomes a sentence in `missing`; the
others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from mlplatform import names
from mlplatform.aws_calls import Call, tagged_resources
from mlplatform.capacity import wanted_type
from mlplatform.errors import AwsError
from mlplatform.facts import STACK_TAG, HostingKind
from mlplatform.kinds import kind_of
from mlplatform.opening_hours import BadHours, exempt, hours_per_week
from mlplatform.parking import BadRecord, read_record
from mlplatform.prices import HOURS_PER_WEEK
from mlplatform.recommendations import (
    AdviceFacts,
    AlarmUse,
    BucketUse,
    ClusterUse,
    EndpointUse,
    JobUse,
    LogGroupUse,
    NatUse,
    SnapshotUse,
    VolumeUse,
)

Value = TypeVar("Value")
Key = TypeVar("Key")

WINDOW_DAYS = 14
_DAY = 86400
_MOST_QUERIES = 500  # GetMetricData, CloudWatch API reference
_MOST_BUCKETS = 100
_GIB = Decimal(2**30)
_GB = Decimal(10**9)
# Virtual CPUs by size, the same in all families that SageMaker hosts on; CPUUtilization adds up what each core does
# ("Metrics for monitoring Amazon SageMaker AI with Amazon CloudWatch", SageMaker developer guide).
_CORES = {"medium": 2, "large": 2, "xlarge": 4} | {f"{times}xlarge": 4 * times for times in range(2, 97)}


def read_advice_facts(
    call: Call, *, stack: str, region: str, now: datetime, office_hours: str, time_zone: str
) -> AdviceFacts:
    """One look at the account. Raises BadHours if the stack's own office hours are no hours."""
    reader = _Reader(call, stack, region, now, office_hours, time_zone)
    endpoints = reader.part("endpoints", reader.endpoints)
    asleep = reader.part("endpoints that sleep", reader.asleep)
    # Whose endpoint is gone can only be told where both are known: an endpoint that sleeps is not listed.
    known = endpoints is not None and asleep is not None
    return AdviceFacts(
        stack=stack,
        region=region,
        now=now,
        window_days=WINDOW_DAYS,
        office_hours=office_hours,
        office_hours_per_week=hours_per_week(office_hours, time_zone),
        jobs=reader.part("training jobs", reader.jobs) or (),
        endpoints=endpoints or (),
        asleep=asleep or frozenset(),
        alarms=(reader.part("alarms", reader.alarms) if known else None) or (),
        buckets=reader.part("buckets", reader.buckets) or (),
        log_groups=reader.part("log groups", reader.log_groups) or (),
        nat_gateways=reader.part("NAT gateways", reader.nat_gateways) or (),
        clusters=reader.part("EKS clusters", reader.clusters) or (),
        volumes=reader.part("volumes", reader.volumes) or (),
        snapshots=reader.part("snapshots", reader.snapshots) or (),
        savings_plan_usd_per_hour=reader.part("savings plans", reader.savings_plans),
        missing=tuple(reader.missing),
    )


class _Reader:
    def __init__(self, call: Call, stack: str, region: str, now: datetime, office_hours: str, zone: str) -> None:
        self._call, self._stack, self._region, self._now = call, stack, region, now
        self._office_hours, self._zone = office_hours, zone
        self._since = now - timedelta(days=WINDOW_DAYS)
        self.missing: list[str] = []

    def part(self, what: str, read: Callable[[], Value]) -> Value | None:
        try:
            return read()
        except AwsError as error:
            self.missing.append(f"{what} ({error.operation}: {error.code})")
            return None

    def _pages(
        self,
        service: str,
        operation: str,
        member: str,
        tokens: tuple[str, str] = ("NextToken", "NextToken"),
        **given: Any,
    ) -> Iterator[Any]:
        """The members of every page. A token that comes twice would never end, and is an AwsError."""
        asked, answered = tokens
        token: dict[str, Any] = {}
        seen: set[str] = set()
        while True:
            page = self._call(service, operation, **given, **token)
            yield from page.get(member, ())
            following = page.get(answered)
            if not following:
                return
            if following in seen:
                raise AwsError(service, operation, "RepeatedToken", "the same page token came twice")
            seen.add(following)
            token = {asked: following}

    # ---- SageMaker ----

    def jobs(self) -> tuple[JobUse, ...]:
        since = f"{self._since.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"  # no more than that ("Filter", API reference)
        ended = {"Name": "CreationTime", "Operator": "GreaterThanOrEqualTo", "Value": since}
        found = self._pages(
            "sagemaker",
            "search",
            "Results",
            Resource="TrainingJob",
            SearchExpression={"Filters": [ended]},
            SortBy="CreationTime",
            SortOrder="Descending",
            MaxResults=100,
        )
        jobs = (result["TrainingJob"] for result in found if "TrainingJob" in result)
        return tuple(
            JobUse(
                name=job["TrainingJobName"],
                instance_type=job["ResourceConfig"]["InstanceType"],
                instance_count=job["ResourceConfig"].get("InstanceCount", 1),
                spot=bool(job.get("EnableManagedSpotTraining")),
                checkpoints="CheckpointConfig" in job,
                training_seconds=job.get("TrainingTimeInSeconds", 0),
                billable_seconds=job.get("BillableTimeInSeconds", job.get("TrainingTimeInSeconds", 0)),
            )
            for job in jobs
            if job["TrainingJobStatus"] in {"Completed", "Failed", "Stopped"}
            and "InstanceType" in job.get("ResourceConfig", {})  # a mixed cluster has InstanceGroups in its place
        )

    def endpoints(self) -> tuple[EndpointUse, ...]:
        """Those of the account, whoever made them."""
        records = [
            result["Endpoint"]
            for result in self._pages("sagemaker", "search", "Results", Resource="Endpoint", MaxResults=100)
            if "Endpoint" in result
        ]
        variants: dict[str, list[Mapping[str, Any]]] = {}
        kinds: dict[str, HostingKind] = {}
        for record in records:
            config = record.get("EndpointConfigName")
            described = self._config(config) if config else {}
            variants[record["EndpointName"]] = list(described.get("ProductionVariants", ()))
            kinds[record["EndpointName"]] = kind_of(described)
        serving = [
            record for record in records if record["EndpointStatus"] == "InService" and variants[record["EndpointName"]]
        ]
        used = self._use_of_endpoints(serving, variants)
        return tuple(
            replace(self._endpoint(record, variants[record["EndpointName"]], used), kind=kinds[record["EndpointName"]])
            for record in serving
        ) + tuple(
            # Those that come or go are listed without a type: nothing is advised about them, and they are there.
            self._endpoint(record, [], {})
            for record in records
            if record not in serving
        )

    def _config(self, config: str) -> Mapping[str, Any]:
        """Nothing of a config that was deleted, which an endpoint survives."""
        try:
            return self._call("sagemaker", "describe_endpoint_config", EndpointConfigName=config)
        except AwsError as error:
            if "could not find" in error.aws_message.lower():
                return {}
            raise

    def _endpoint(
        self,
        record: Mapping[str, Any],
        variants: list[Mapping[str, Any]],
        used: Mapping[tuple[str, str], list[tuple[datetime, Decimal]]],
    ) -> EndpointUse:
        name, tags, created = record["EndpointName"], _tags(record), record["CreationTime"].astimezone(UTC)
        kind = next((one for one in map(wanted_type, variants) if one), None)
        counts = {one["VariantName"]: one.get("CurrentInstanceCount") for one in record.get("ProductionVariants", ())}
        count = sum(counts.get(one["VariantName"]) or one.get("InitialInstanceCount", 0) for one in variants)
        invocations = used.get((name, "Invocations"), [])
        busy = [at for at, value in invocations if value > 0]
        last = max(busy, default=None)
        # One that sleeps at night is made anew every morning; what was measured before is under the same name.
        seen = [at for at, _ in (*invocations, *used.get((name, "CPUUtilization"), ()))]
        began = max(min([created, *seen]), self._since)
        # A day's point begins at midnight: the day itself does not count as idle.
        quiet_since = last + timedelta(days=1) if last else began
        latency = _values(used, name, "ModelLatency")
        cpu, memory = _values(used, name, "CPUUtilization"), _values(used, name, "MemoryUtilization")
        return EndpointUse(
            name=name,
            arn=record["EndpointArn"],
            created=created,
            instance_type=kind,
            instance_count=count,
            variants=len(variants),
            tags=tags,
            hours_per_week=self._hours(tags),
            observed_days=Decimal(int((self._now - began).total_seconds())) / _DAY,
            idle_days=max(0, (self._now - quiet_since).days) if kind else 0,
            invocations=int(sum(value for _, value in invocations)) if invocations else 0 if kind else None,
            latency_seconds=sum(latency, Decimal(0)) / len(latency) / 10**6 if latency else None,
            cpu_peak_percent=max(cpu) / _CORES[kind.rsplit(".", 1)[1]] if cpu and kind else None,
            memory_peak_percent=max(memory) if memory else None,
        )

    def _hours(self, tags: Mapping[str, str]) -> Decimal:
        """How long keep_office_hours lets it run: only this stack's, and in prod only where it is tagged."""
        if tags.get(STACK_TAG) != self._stack or exempt(tags, "prod"):
            return HOURS_PER_WEEK
        try:
            return hours_per_week(tags.get(names.HOURS_TAG, self._office_hours), self._zone)
        except BadHours:
            return HOURS_PER_WEEK  # a tag that can't be read leaves the endpoint alone

    def _use_of_endpoints(
        self, records: Iterable[Mapping[str, Any]], variants: Mapping[str, list[Mapping[str, Any]]]
    ) -> Mapping[tuple[str, str], list[tuple[datetime, Decimal]]]:
        wanted = [
            (
                (record["EndpointName"], metric),
                namespace,
                metric,
                {"EndpointName": record["EndpointName"], "VariantName": variant["VariantName"]},
                statistic,
            )
            for record in records
            for variant in variants[record["EndpointName"]]
            for namespace, metric, statistic in (
                ("AWS/SageMaker", "Invocations", "Sum"),
                ("AWS/SageMaker", "ModelLatency", "Average"),  # in microseconds
                ("/aws/sagemaker/Endpoints", "CPUUtilization", "Maximum"),
                ("/aws/sagemaker/Endpoints", "MemoryUtilization", "Maximum"),
            )
        ]
        return self._metrics(wanted, WINDOW_DAYS)

    def _metrics(
        self, wanted: list[tuple[Key, str, str, dict[str, str], str]], days: int
    ) -> dict[Key, list[tuple[datetime, Decimal]]]:
        """One point a day for each (key, namespace, metric, dimensions, statistic); several queries may share a key."""
        midnight = self._now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        found: dict[Key, list[tuple[datetime, Decimal]]] = {}
        for first in range(0, len(wanted), _MOST_QUERIES):
            some = wanted[first : first + _MOST_QUERIES]
            queries = [
                {
                    "Id": f"q{place}",
                    "MetricStat": {
                        "Metric": {
                            "Namespace": namespace,
                            "MetricName": metric,
                            "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
                        },
                        "Period": _DAY,
                        "Stat": statistic,
                    },
                }
                for place, (_, namespace, metric, dimensions, statistic) in enumerate(some)
            ]
            for result in self._pages(
                "cloudwatch",
                "get_metric_data",
                "MetricDataResults",
                MetricDataQueries=queries,
                StartTime=midnight - timedelta(days=days),
                EndTime=midnight + timedelta(days=1),
            ):
                key = some[int(result["Id"][1:])][0]
                points = zip(result["Timestamps"], result["Values"], strict=True)
                found.setdefault(key, []).extend((at.astimezone(UTC), Decimal(str(value))) for at, value in points)
        return found

    def asleep(self) -> frozenset[str]:
        """Names of the endpoints that the stack's office hours have parked."""
        found = set()
        for tags in tagged_resources(self._call, ["sagemaker:endpoint-config"], {STACK_TAG: self._stack}).values():
            try:
                record = read_record(tags)
            except BadRecord:
                continue  # keep_office_hours tells of it
            if record is not None:
                found.add(record.endpoint)
        return frozenset(found)

    def alarms(self) -> tuple[AlarmUse, ...]:
        """Those of endpoints that do not exist. Search may lag behind, so the list that does not is asked."""
        there = {one["EndpointName"] for one in self._pages("sagemaker", "list_endpoints", "Endpoints", MaxResults=100)}
        governed = tagged_resources(self._call, ["cloudwatch:alarm"], {STACK_TAG: self._stack})
        found = []
        for alarm in self._pages("cloudwatch", "describe_alarms", "MetricAlarms", AlarmTypes=["MetricAlarm"]):
            endpoint = next(
                (one["Value"] for one in alarm.get("Dimensions", ()) if one["Name"] == "EndpointName"), None
            )
            if endpoint is not None and endpoint not in there and alarm["AlarmArn"] not in governed:
                found.append(AlarmUse(alarm["AlarmName"], endpoint, alarm.get("Period", 60)))
        return tuple(found)

    # ---- storage and logs ----

    def buckets(self) -> tuple[BucketUse, ...]:
        names_ = [bucket["Name"] for bucket in self._call("s3", "list_buckets").get("Buckets", ())][:_MOST_BUCKETS]
        sizes = self._metrics(
            [
                (name, "AWS/S3", "BucketSizeBytes", {"BucketName": name, "StorageType": "StandardStorage"}, "Average")
                for name in names_
            ],
            days=32,  # the metric comes once a day, a day or two late
        )
        return tuple(self._bucket(name, sorted(sizes.get(name, ()))) for name in names_)

    def _bucket(self, name: str, sizes: list[tuple[datetime, Decimal]]) -> BucketUse:
        lifecycle = self._or_nothing("s3", "get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration", name)
        tagging = self._or_nothing("s3", "get_bucket_tagging", "NoSuchTagSet", name)
        ago = [value for at, value in sizes if self._now - at >= timedelta(days=29)]
        return BucketUse(
            name=name,
            lifecycle=bool(lifecycle.get("Rules")),
            standard_gb=sizes[-1][1] / _GIB if sizes else None,
            standard_gb_month_ago=ago[-1] / _GIB if ago else Decimal(0) if sizes else None,
            tags={tag["Key"]: tag["Value"] for tag in tagging.get("TagSet", ())},
        )

    def _or_nothing(self, service: str, operation: str, code: str, bucket: str) -> dict[str, Any]:
        try:
            return self._call(service, operation, Bucket=bucket)
        except AwsError as error:
            if error.code == code:
                return {}
            raise

    def log_groups(self) -> tuple[LogGroupUse, ...]:
        return tuple(
            LogGroupUse(
                group["logGroupName"],
                datetime.fromtimestamp(group["creationTime"] / 1000, UTC),
                group.get("storedBytes", 0),
                group.get("retentionInDays"),
            )
            for group in self._pages("logs", "describe_log_groups", "logGroups", ("nextToken", "nextToken"), limit=50)
        )

    # ---- beside the platform ----

    def nat_gateways(self) -> tuple[NatUse, ...]:
        gateways = list(
            self._pages(
                "ec2", "describe_nat_gateways", "NatGateways", Filters=[{"Name": "state", "Values": ["available"]}]
            )
        )
        if not gateways:
            return ()
        endpoints = self._pages(
            "ec2",
            "describe_vpc_endpoints",
            "VpcEndpoints",
            Filters=[{"Name": "service-name", "Values": [f"com.amazonaws.{self._region}.s3"]}],
        )
        with_s3 = {one["VpcId"] for one in endpoints if one["VpcEndpointType"] == "Gateway"}
        # Charged is what goes through in either direction ("Pricing for NAT gateways", VPC user guide).
        moved = self._metrics(
            [
                (one["NatGatewayId"], "AWS/NATGateway", metric, {"NatGatewayId": one["NatGatewayId"]}, "Sum")
                for one in gateways
                for metric in ("BytesOutToDestination", "BytesInFromDestination")
            ],
            WINDOW_DAYS,
        )
        old = {one["NatGatewayId"] for one in gateways if one["CreateTime"].astimezone(UTC) <= self._since}
        return tuple(
            NatUse(
                one["NatGatewayId"],
                one["VpcId"],
                # No points at all is no traffic only where the gateway has been there all along.
                sum((value for _, value in moved[one["NatGatewayId"]]), Decimal(0)) / _GB
                if moved.get(one["NatGatewayId"])
                else Decimal(0)
                if one["NatGatewayId"] in old
                else None,
                one["VpcId"] in with_s3,
            )
            for one in gateways
        )

    def clusters(self) -> tuple[ClusterUse, ...]:
        tokens = ("nextToken", "nextToken")
        found = list(self._pages("eks", "list_clusters", "clusters", tokens))
        if not found:
            return ()
        versions = {
            one["clusterVersion"]: one.get("versionStatus", "")
            for one in self._pages("eks", "describe_cluster_versions", "clusterVersions", tokens, includeAll=True)
        }
        clusters = []
        for name in found:
            version = self._call("eks", "describe_cluster", name=name)["cluster"]["version"]
            groups = list(self._pages("eks", "list_nodegroups", "nodegroups", tokens, clusterName=name))
            clusters.append(ClusterUse(name, versions.get(version) == "EXTENDED_SUPPORT", len(groups)))
        return tuple(clusters)

    def volumes(self) -> tuple[VolumeUse, ...]:
        return tuple(
            VolumeUse(one["VolumeId"], one["VolumeType"], one["Size"], one["CreateTime"].astimezone(UTC))
            for one in self._pages(
                "ec2", "describe_volumes", "Volumes", Filters=[{"Name": "status", "Values": ["available"]}]
            )
        )

    def snapshots(self) -> tuple[SnapshotUse, ...]:
        return tuple(
            SnapshotUse(one["SnapshotId"], one["VolumeSize"], one["StartTime"].astimezone(UTC))
            for one in self._pages("ec2", "describe_snapshots", "Snapshots", OwnerIds=["self"])
        )

    def savings_plans(self) -> Decimal:
        """US dollars an hour that SageMaker savings plans commit to now."""
        return sum(
            (
                Decimal(plan["commitment"])
                for plan in self._pages(
                    "savingsplans",
                    "describe_savings_plans",
                    "savingsPlans",
                    ("nextToken", "nextToken"),
                    states=["active"],
                    filters=[{"name": "savings-plan-type", "values": ["SageMaker"]}],
                )
            ),
            Decimal(0),
        )


def _tags(described: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in described.get("Tags", ())}


def _values(
    used: Mapping[tuple[str, str], list[tuple[datetime, Decimal]]], endpoint: str, metric: str
) -> list[Decimal]:
    return [value for _, value in used.get((endpoint, metric), ())]
