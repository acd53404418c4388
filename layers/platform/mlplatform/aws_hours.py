"""What office hours read and do in AWS: a part of Aws (aws.py).

Facts of an account are read in pages (GetResources gives the tags of a hundred resources, ListEndpoints the states of a
hundred endpoints), so that a tick that changes nothing costs no call per endpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date
from typing import Any

from mlplatform import ledger, names
from mlplatform.aws_calls import Calls, is_in_progress, is_there, tagged_resources
from mlplatform.capacity import wanted_type
from mlplatform.decisions import (
    ClearFailedStart,
    Decision,
    ForgetParking,
    RestoreCapacity,
    RestoreEndpoint,
    Skip,
    StartEndpoint,
    StopEndpoint,
)
from mlplatform.errors import AwsError, TryAgain
from mlplatform.facts import STACK_TAG, Endpoint, HostedEndpoint, HostingKind, Parked
from mlplatform.kinds import kind_of
from mlplatform.parking import BadRecord, parking_record, parking_tags, read_record, record_tags


class OfficeHoursCalls(Calls):
    """Mixed into Aws."""

    # ---- facts ----

    def hosted_endpoints(self) -> list[HostedEndpoint]:
        """Every endpoint of the stack that runs or is parked, by name."""
        tags = self._tags_of_stack()
        records = {arn: found for arn, found in tags.items() if ":endpoint-config/" in arn}
        parked: dict[str, Parked] = {}
        unreadable: dict[str, str] = {}
        for arn, config_tags in records.items():
            try:
                record = read_record(config_tags)
            except BadRecord as error:
                # The record itself is needed to know whose it is; a config and its endpoint begin alike.
                unreadable[arn.rpartition("/")[2]] = f"{error}. It lies in the tags of {arn}."
                continue
            if record is not None and (record.endpoint not in parked or parked[record.endpoint].since < record.since):
                parked[record.endpoint] = record
        found = [
            HostedEndpoint(
                name=entry["EndpointName"],
                status=entry["EndpointStatus"],
                created=entry["CreationTime"].astimezone(UTC),
                tags=tags.get(entry["EndpointArn"], {}),
                parked=parked.pop(entry["EndpointName"], None),
                modified=entry["LastModifiedTime"].astimezone(UTC),
            )
            for entry in self._endpoints_of_stack()
        ]
        found += [HostedEndpoint(name, None, None, record.tags, record) for name, record in parked.items()]
        found += [
            HostedEndpoint(config, None, None, records[arn], unreadable=unreadable[config])
            for arn in records
            if (config := arn.rpartition("/")[2]) in unreadable
        ]
        return sorted(found, key=lambda one: one.name)

    def _tags_of_stack(self) -> dict[str, dict[str, str]]:
        kinds = ["sagemaker:endpoint", "sagemaker:endpoint-config"]
        return tagged_resources(self._call, kinds, {STACK_TAG: self._settings.stack_name})

    def _endpoints_of_stack(self) -> Iterator[dict[str, Any]]:
        """By name: what is named otherwise is nothing that the platform may touch."""
        prefix = f"{self._settings.stack_name}-"
        for page in self._pages("sagemaker", "list_endpoints", NameContains=prefix, MaxResults=100):
            yield from (entry for entry in page["Endpoints"] if entry["EndpointName"].startswith(prefix))

    def holidays(self, today: date) -> frozenset[date]:
        """Those of the settings and of the calendar in the artifact bucket. Raises BadCalendar."""
        from mlplatform import holidays  # only the clock asks for them

        answer = self._found("s3", "get_object", Bucket=self._settings.artifact_bucket, Key=names.HOLIDAYS_KEY)
        listed = holidays.listed(self._settings.holidays)
        return listed if answer is None else listed | holidays.from_calendar(answer["Body"].read(), today)

    def parked(self, endpoint: Endpoint, config: str | None) -> Parked | None:
        """The record in a config that an endpoint has not come back from yet. Raises BadRecord.

        Asked of the config itself: GetResources may still tell of a record that is gone.
        """
        if config is None:
            return None
        record = read_record(self._tags(names.config_arn(endpoint.arn, config)))
        return record if record is not None and record.endpoint == endpoint.name else None

    def parked_endpoint(self, name: str) -> tuple[Endpoint, Parked] | None:
        """What a stopped endpoint will come back as: its parked config's model, type and tags. Its status is Parked."""
        for arn, parked in self._records(name):
            config = self._found("sagemaker", "describe_endpoint_config", EndpointConfigName=parked.config) or {}
            variant: Mapping[str, Any] = next(iter(config.get("ProductionVariants", [])), {})
            model: Mapping[str, Any] = {}
            if "ModelName" in variant:
                model = self._found("sagemaker", "describe_model", ModelName=variant["ModelName"]) or {}
            endpoint = Endpoint(
                name=name,
                arn=f"{arn.partition(':endpoint-config/')[0]}:endpoint/{name}",
                status="Parked",
                config_name=parked.config,
                failure_reason=None,
                variant_name=variant.get("VariantName"),
                instance_type=wanted_type(variant),
                instance_count=variant.get("InitialInstanceCount"),
                model_name=variant.get("ModelName"),
                artifact_uri=model.get("PrimaryContainer", {}).get("ModelDataUrl"),
                tags=parked.tags,
            )
            return endpoint, parked
        return None

    def _records(self, endpoint: str) -> Iterator[tuple[str, Parked]]:
        """Those of a stopped endpoint, each with the ARN of its config; two where a move was cut short."""
        for arn, tags in self._tags_of_stack().items():
            try:
                parked = read_record(tags) if ":endpoint-config/" in arn else None
            except BadRecord:
                continue  # nobody knows whose it is; office hours tell of it
            if parked is not None and parked.endpoint == endpoint:
                yield arn, parked

    # ---- decisions ----

    def _move_parking(self, parked: Parked, config: str, tags: Mapping[str, str]) -> None:
        """Has a stopped endpoint come back with another config. Raises TryAgain where it came back meanwhile.

        The new record goes first: with two of them the endpoint comes back with either, with none it would not.
        """
        moved = replace(parked, config=config, tags={**parked.tags, **tags, names.ASKED_TAG: config})
        new = self._call("sagemaker", "describe_endpoint_config", EndpointConfigName=config)["EndpointConfigArn"]
        self._call("sagemaker", "add_tags", ResourceArn=new, Tags=names.tag_list(record_tags(moved, self._tags(new))))
        # The list of tags may lag behind, but what is known of the old record is from there.
        known = {
            f"{new.rpartition('/')[0]}/{parked.config.lower()}",
            *(arn for arn, _ in self._records(parked.endpoint)),
        }
        for old in sorted(known - {new}):
            keys = parking_tags(self._tags(old))
            if keys:
                self._call("sagemaker", "delete_tags", ResourceArn=old, TagKeys=keys)
        if self._found("sagemaker", "describe_endpoint", EndpointName=parked.endpoint) is not None:
            raise TryAgain(f"Endpoint {parked.endpoint} came back just now; {config} can be deployed on it.")

    def _stop_endpoint(self, decision: StopEndpoint) -> StopEndpoint | Skip:
        """Record first, then deletion. A record that is there already is the truth: the endpoint is half stopped, or
        was never quite restored, and what it has now is not what it shall come back with. Raises BadRecord."""
        name = decision.endpoint_name
        found = self._found("sagemaker", "describe_endpoint", EndpointName=name)
        if found is None or found["EndpointStatus"] != "InService":
            return Skip(
                f"{name} is {found['EndpointStatus'] if found else 'gone'} meanwhile; the next tick looks again."
            )
        config = self._call("sagemaker", "describe_endpoint_config", EndpointConfigName=found["EndpointConfigName"])
        kind = kind_of(config)
        if kind is not HostingKind.REAL_TIME:
            return Skip(f"{name} is {kind.value}: while nobody asks, it costs nothing.")
        models = {one["VariantName"]: one["ModelName"] for one in config["ProductionVariants"] if "ModelName" in one}
        model = names.models_config(name, models)
        own = names.own_config(config["EndpointConfigName"], model, self._settings.stack_name)
        if own != config["EndpointConfigName"]:
            again = self._found("sagemaker", "describe_endpoint_config", EndpointConfigName=own) if own else None
            if again is None:
                return Skip(
                    f"{name} runs with {config['EndpointConfigName']}, which is not the platform's to park it in; it "
                    "is left running."
                )
            config = again
        config_tags = self._tags(config["EndpointConfigArn"])
        parked = read_record(config_tags)
        if parked is not None and parked.endpoint != name:
            return Skip(f"{name} shares its config with {parked.endpoint}, which is parked in it; it is left running.")
        if parked is None:
            parked = parking_record(
                found,
                config,
                self._tags(found["EndpointArn"]),
                self._scaling_of(found),
                self._alarms_of(name),
                decision.at,
            )
            self._call(
                "sagemaker",
                "add_tags",
                ResourceArn=config["EndpointConfigArn"],
                Tags=names.tag_list(record_tags(parked, config_tags)),
            )
        if parked.alarms:
            self._call("cloudwatch", "disable_alarm_actions", AlarmNames=list(parked.alarms))
        # Deregisters the variants' scaling too (DeleteEndpoint, SageMaker API reference)
        self._call("sagemaker", "delete_endpoint", EndpointName=name)
        return decision

    def _scaling_of(self, endpoint: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
        """Of all variants, as described, in the order of the answers."""
        found: dict[str, list[Mapping[str, Any]]] = {"targets": [], "policies": [], "scheduled_actions": []}
        for variant in endpoint.get("ProductionVariants", []):
            resource = names.scalable_target(endpoint["EndpointName"], variant["VariantName"])["ResourceId"]
            for page in self._pages(
                "application-autoscaling",
                "describe_scalable_targets",
                ServiceNamespace="sagemaker",
                ResourceIds=[resource],
            ):
                for target in page["ScalableTargets"]:
                    arn = target["ScalableTargetARN"]
                    tags = self._call("application-autoscaling", "list_tags_for_resource", ResourceARN=arn)["Tags"]
                    found["targets"].append({**target, "Tags": tags} if tags else target)
            for page in self._pages(
                "application-autoscaling",
                "describe_scaling_policies",
                ServiceNamespace="sagemaker",
                ResourceId=resource,
            ):
                found["policies"] += page["ScalingPolicies"]
            for page in self._pages(
                "application-autoscaling",
                "describe_scheduled_actions",
                ServiceNamespace="sagemaker",
                ResourceId=resource,
            ):
                found["scheduled_actions"] += page["ScheduledActions"]
        return found

    def _alarms_of(self, endpoint: str) -> list[str]:
        """Alarms about the endpoint that act and are named after it, as the platform names alarms."""
        return [
            alarm["AlarmName"]
            for page in self._pages("cloudwatch", "describe_alarms", AlarmNamePrefix=endpoint, MaxRecords=100)
            for alarm in page.get("MetricAlarms", [])
            if alarm.get("ActionsEnabled")
            and {"Name": "EndpointName", "Value": endpoint} in alarm.get("Dimensions", [])
        ]

    def _start_endpoint(self, decision: StartEndpoint) -> StartEndpoint | Skip:
        if not self._unless(is_there, "sagemaker", "create_endpoint", **decision.endpoint):
            return Skip(f"{decision.endpoint_name} is there already; the next tick looks again.")
        return decision

    def _clear_failed_start(self, decision: ClearFailedStart) -> ClearFailedStart:
        self._call("sagemaker", "delete_endpoint", EndpointName=decision.endpoint_name)
        return decision

    def _restore_capacity(self, decision: RestoreCapacity) -> RestoreCapacity | Skip:
        if not self._unless(is_in_progress, "sagemaker", "update_endpoint_weights_and_capacities", **decision.capacity):
            return Skip(f"{decision.endpoint_name} is being updated; the end of that will bring it here again.")
        return decision

    def _restore_scaling(self, parked: Parked) -> None:
        """Each call leaves things as they are when it is made again."""
        for target in parked.targets:
            request = dict(target)
            known = self._call(
                "application-autoscaling",
                "describe_scalable_targets",
                ServiceNamespace=request["ServiceNamespace"],
                ResourceIds=[request["ResourceId"]],
            )["ScalableTargets"]
            if known:
                request.pop("Tags", None)  # for a new target only (RegisterScalableTarget, API reference)
            self._call("application-autoscaling", "register_scalable_target", **request)
        for policy in parked.policies:
            self._call("application-autoscaling", "put_scaling_policy", **policy)
        for action in parked.scheduled_actions:
            # One time that has passed while it was parked: there is nothing left to schedule.
            once = str(action["Schedule"]).startswith("at(")
            self._unless(_is_refused if once else _never, "application-autoscaling", "put_scheduled_action", **action)

    def _restore_endpoint(self, decision: RestoreEndpoint) -> Decision:
        """The record is what brings it here again after an error, so that it goes last."""
        if decision.saving is not None:
            self._put_once(
                self._settings.artifact_bucket,
                ledger.object_key(decision.saving),
                ledger.document(decision.saving),
            )
        self._restore_scaling(decision.parked)
        self._announce(decision)
        self._end_parking(decision.config_arn, decision.parked.alarms)
        return decision

    def _forget_parking(self, decision: ForgetParking) -> ForgetParking:
        if decision.endpoint_tags:
            self._call(
                "sagemaker",
                "add_tags",
                ResourceArn=decision.endpoint_arn,
                Tags=names.tag_list(decision.endpoint_tags),
            )
        self._end_parking(decision.config_arn, decision.alarms)
        return decision

    def _end_parking(self, config_arn: str, alarms: tuple[str, ...]) -> None:
        if alarms:
            self._call("cloudwatch", "enable_alarm_actions", AlarmNames=list(alarms))
        keys = parking_tags(self._tags(config_arn))
        if keys:
            self._call("sagemaker", "delete_tags", ResourceArn=config_arn, TagKeys=keys)


def _is_refused(error: AwsError) -> bool:
    return error.code == "ValidationException"


def _never(_: AwsError) -> bool:
    return False
