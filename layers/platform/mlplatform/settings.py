"""What a function must know about its stack, from its environment variables: one frozen Settings, read once.

The template gives every function every variable, spelled as the field in capitals; a test holds the two together.
No secrets: the Slack webhook itself lies in the SSM parameter that SLACK_WEBHOOK_PARAMETER names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import field, fields
from datetime import date
from decimal import Decimal
from typing import Any

from mlplatform import instances
from mlplatform.errors import SettingsError
from mlplatform.opening_hours import BadHours, find_zone, parse_hours
from mlplatform.records import dataclass

# As the template's parameters and job.json have them too.
LONGEST_RUN_SECONDS = 28 * 24 * 3600  # StoppingCondition, SageMaker API reference; an account's quota may be lower
MOST_INVOCATIONS_PER_INSTANCE = 10_000_000  # a minute


@dataclass(frozen=True)
class _Form:
    """How a variable must look, in words and as a test."""

    words: str
    accepts: Callable[[str], bool]


def _pattern(words: str, pattern: str) -> dict[str, _Form]:
    return {"form": _Form(words, lambda text: re.fullmatch(pattern, text) is not None)}


def _whole(smallest: int, largest: int) -> dict[str, _Form]:
    return {
        "form": _Form(
            f"a whole number from {smallest} to {largest}",
            lambda text: re.fullmatch(r"\d{1,9}", text) is not None and smallest <= int(text) <= largest,
        )
    }


def _usd(text: str) -> bool:
    """More than nothing, to the cent: CloudFormation hands a Number on as it was typed."""
    return re.fullmatch(r"\d{1,9}(\.\d{1,2})?", text) is not None and Decimal(text) > 0


def _dates(text: str) -> bool:
    try:
        return all(date.fromisoformat(part.strip()) for part in text.split(",")) if text.strip() else True
    except ValueError:
        return False


def _understood(read: Callable[..., object], *text: str) -> bool:
    try:
        read(*text)
    except BadHours:
        return False
    return True


def _zone(text: str) -> bool:
    return _understood(find_zone, text)


def _opening_hours(text: str) -> bool:
    """Also used as a tag's value, hence the limit."""
    return len(text) <= 256 and _understood(parse_hours, text, "UTC")


_USD = {"form": _Form("an amount in USD above 0, such as 50 or 49.90", _usd)}
_TAG = _pattern(
    "1 to 128 letters, digits, spaces and _.:/=+-@, as tags allow",
    r"[\w .:/=+\-@]{1,128}",
)
# VpcConfig, SageMaker API reference: 1 to 16 subnets; ids are of EC2's forms.
_SUBNETS = _pattern("subnet ids, separated by commas, or nothing", r"|subnet-[0-9a-f]+(,subnet-[0-9a-f]+){0,15}")
_GROUP = _pattern("a security group's id, or nothing", r"|sg-[0-9a-f]+")
_BUCKET = _pattern("the name of a bucket", r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class Settings:
    """Times are in seconds, as the names say."""

    # SageMaker writes ARNs of jobs, models and endpoints in lower case, whatever their names (sample event "Endpoint
    # state change", SageMaker developer guide), so that a policy on a name with capitals would match nothing.
    stack_name: str = field(
        metadata=_pattern(
            "the stack's name, at most 29 lower-case letters, digits and hyphens", r"[a-z][a-z0-9-]{0,28}"
        )
    )
    data_bucket: str = field(metadata=_BUCKET)
    artifact_bucket: str = field(metadata=_BUCKET)
    alerts_topic_arn: str = field(metadata=_pattern("the ARN of a topic", r"arn:[\w-]+:sns:[\w-]+:\d{12}:[\w-]+"))
    training_role_arn: str = field(metadata=_pattern("the ARN of a role", r"arn:[\w-]+:iam::\d{12}:role/.+"))
    model_code_uri: str = field(metadata=_pattern("s3://bucket/key of sourcedir.tar.gz", r"s3://[^/]+/.+"))
    model_code_digest: str = field(metadata=_pattern("6 or more hexadecimal digits", r"[0-9a-f]{6,64}"))
    training_instance_type: str = field(
        metadata={
            "form": _Form("a type that SageMaker trains on, such as ml.m5.xlarge", instances.TRAINING.__contains__)
        }
    )
    training_max_runtime_seconds: int = field(metadata=_whole(60, LONGEST_RUN_SECONDS))
    training_max_wait_seconds: int = field(metadata=_whole(60, LONGEST_RUN_SECONDS))
    tuning_max_cost_usd: Decimal = field(metadata=_USD)
    hosting_instance_type: str = field(
        metadata={"form": _Form("a type that SageMaker hosts on, such as ml.c5.large", instances.HOSTING.__contains__)}
    )
    min_instances: int = field(metadata=_whole(1, 100))
    max_instances: int = field(metadata=_whole(1, 100))
    invocations_per_instance: int = field(metadata=_whole(1, MOST_INVOCATIONS_PER_INSTANCE))  # per minute
    cpu_target_percent: int = field(metadata=_whole(1, 100))
    scale_out_cooldown_seconds: int = field(metadata=_whole(0, 3600))
    scale_in_cooldown_seconds: int = field(metadata=_whole(0, 3600))
    canary_percent: int = field(metadata=_whole(1, 50))  # of a fleet, which gets an update first
    baking_seconds: int = field(
        metadata=_whole(60, 3600)
    )  # that an update is watched for, before and after it is whole
    project: str = field(metadata=_TAG)
    environment: str = field(metadata=_pattern("dev, staging or prod", "dev|staging|prod"))
    cost_center: str = field(metadata=_TAG)
    owner: str = field(metadata=_TAG)
    slack_webhook_parameter: str = field(metadata=_pattern("an SSM parameter such as /stack/name", r"/[\w./-]+"))
    office_hours: str = field(
        metadata={
            "form": _Form("opening hours such as mon-fri 08:00-18:00 (mlplatform/opening_hours.py)", _opening_hours)
        }
    )
    # IANA names only: abbreviations such as IST are different places to different people.
    time_zone: str = field(metadata={"form": _Form("UTC, or an IANA time zone such as Europe/Berlin", _zone)})
    holidays: str = field(metadata={"form": _Form("dates as 2026-12-25, separated by commas, or nothing", _dates)})
    daily_ceiling_usd: Decimal = field(metadata=_USD)
    monthly_ceiling_usd: Decimal = field(metadata=_USD)
    monthly_budget_usd: Decimal = field(metadata=_USD)
    approval_ceiling_usd: Decimal = field(metadata=_USD)  # of a model's hosting a month, in prod
    dev_max_age_days: int = field(metadata=_whole(0, 3650))  # 0: dev endpoints may be as old as they like
    dev_grace_days: int = field(metadata=_whole(2, 30))  # between the notice and the end: two notices need two days
    kept_packages: int = field(metadata=_whole(2, 1000))  # of each dataset: the live one, and one to go back to
    subnet_ids: str = field(metadata=_SUBNETS)  # where jobs and models run; nothing: in SageMaker's own network
    security_group_id: str = field(metadata=_GROUP)
    aws_region: str = field(metadata=_pattern("a region such as us-east-1", r"[a-z]{2}(-[a-z]+)+-\d"))

    @property
    def vpc_config(self) -> dict[str, Any]:
        """`VpcConfig` of CreateTrainingJob and CreateModel, as a part of their requests; empty without a network."""
        if not self.subnet_ids:
            return {}
        return {"VpcConfig": {"Subnets": self.subnet_ids.split(","), "SecurityGroupIds": [self.security_group_id]}}

    @property
    def required_tags(self) -> dict[str, str]:
        """On everything that a function creates, as on everything that the template does."""
        return {
            "Project": self.project,
            "Environment": self.environment,
            "CostCenter": self.cost_center,
            "Owner": self.owner,
        }


_CONVERSIONS: dict[str, Callable[[str], Any]] = {"int": int, "Decimal": Decimal}  # by a field's annotation


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Reads `os.environ` unless told otherwise. Raises SettingsError that lists every bad variable at once."""
    source = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    problems: list[str] = []
    for one in fields(Settings):
        variable, form = one.name.upper(), one.metadata["form"]
        text = source.get(variable)
        if text is None:
            problems.append(f"{variable} is not set; expected {form.words}")
        elif not form.accepts(text):
            problems.append(f"{variable} is {text!r}; expected {form.words}")
        else:
            values[one.name] = _CONVERSIONS.get(str(one.type), str)(text)
    for smaller, larger, why in (
        # StoppingCondition, SageMaker API reference: the wait includes the run
        ("training_max_runtime_seconds", "training_max_wait_seconds", "a spot job's wait includes its run"),
        ("min_instances", "max_instances", "there is no room to scale in otherwise"),
        ("daily_ceiling_usd", "monthly_ceiling_usd", "the month's ceiling would be reached within a day otherwise"),
    ):
        if smaller in values and larger in values and values[smaller] > values[larger]:
            problems.append(
                f"{larger.upper()} is '{values[larger]}'; expected at least {smaller.upper()} "
                f"({values[smaller]}): {why}"
            )
    if bool(values.get("subnet_ids")) != bool(values.get("security_group_id")):
        problems.append("SUBNET_IDS and SECURITY_GROUP_ID are expected both or neither")
    if problems:
        raise SettingsError(f"Bad environment variables ({len(problems)}): " + "; ".join(problems) + ".")
    return Settings(**values)
