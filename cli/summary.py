"""`mlp summary`: every resource of the deployed stack, what it is for, costs, saves, and how it is secured.

Everything is read from what is deployed: the stack's processed template and resources, their tags, and what each
service describes. Nothing here knows this platform's resources by name.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

import typer
from rich.markup import escape

from cli import summary_page
from cli.advice import look
from cli.connection import CommandError, Connection
from cli.inventory import EndpointCost, Item, Summary
from cli.terminal import Terminal
from mlplatform import holds, ledger, names, prices, spend
from mlplatform.aws_calls import Call, is_missing, tagged_resources
from mlplatform.errors import AwsError, UnknownPrice
from mlplatform.facts import STACK_TAG, HostingKind, SpendMonth
from mlplatform.hosting import DAYS_PER_MONTH
from mlplatform.platform_cost import CostLine, platform_cost
from mlplatform.prices import HOURS_PER_MONTH, HOURS_PER_WEEK
from mlplatform.recommendations import AdviceFacts, EndpointUse

console = Terminal()


def summary(
    context: typer.Context,
    html: Annotated[Path | None, typer.Option(help="Write it as a page to this file.")] = None,
) -> None:
    """What is deployed: every resource, its purpose, its monthly cost, what it saves and how it is secured.

    Example: `mlp summary`, `mlp summary --html summary.html`
    """
    found = summarise(context.obj)
    if html is not None:
        html.write_text(summary_page.page(found))
        console.print(f"written to {html}")
        return
    for group in dict.fromkeys(item.group for item in found.items):
        console.print(f"\n[bold]{escape(group)}[/bold]", highlight=False)
        for item in found.items:
            if item.group == group:
                console.print(f"  {escape(item.logical_id)}  ${item.usd:.2f} a month", highlight=False)
                security = [*item.security, *(f"lacks the tag {tag}" for tag in item.missing_tags or ())]
                for text in filter(None, (item.purpose, item.saves, "; ".join(security))):
                    console.print(f"      {escape(text)}", style="dim", highlight=False)
    console.print()
    own, list_price = found.own_cost
    for one in found.serving:
        cost = "no cost known yet" if one.usd is None else f"${one.usd:.2f} a month"
        console.print(f"endpoint {one.name}: {one.what}, {one.hours_per_week:g} of 168 hours a week, {cost}")
    console.print(
        f"The platform itself costs ${own:.2f} a month (${list_price:.2f} without AWS's always-free allowances), its "
        f"endpoints ${found.serving_usd:.2f}. Closed hours save ${found.hours_save_usd:.2f} a month; "
        f"{len(found.recommendations)} recommendations would save up to ${found.advice_usd:.2f}: mlp costs advice.",
        highlight=False,
    )


def summarise(connection: Connection) -> Summary:
    """Raises CommandError where there is no such stack, and UnknownPrice for a resource without a price."""
    now = connection.now()
    facts, recommendations = look(connection)
    deployed = Deployed.read(connection)
    lines: dict[str, list[CostLine]] = defaultdict(list)
    try:
        for line in platform_cost(deployed.resources, prices, facts.region):
            lines[line.resource].append(line)
    except UnknownPrice as error:
        raise CommandError(str(error)) from error
    tags = _tags(connection, deployed.parameters.get("Project", ""))
    for service in Told.SERVICES:  # boto3's sessions make clients on one thread only
        connection.client(service)
    with ThreadPoolExecutor(8) as pool:
        described = list(pool.map(lambda name: Told(connection.call, deployed).about(name), deployed.resources))
    items = tuple(
        Item(
            name,
            resource["Type"],
            deployed.physical[name],
            deployed.purpose(name),
            tuple(lines[name]),
            saves,
            tuple(security),
            _missing_tags(resource, deployed.physical[name], tags),
        )
        for (name, resource), (saves, security) in zip(deployed.resources.items(), described, strict=True)
    )
    return Summary(
        connection.stack,
        facts.region,
        now,
        deployed.parameters.get("Environment", ""),
        items,
        tuple(serving(facts, _metered(connection, now))),
        _saved(connection, now),
        recommendations,
        facts.not_looked_at,
    )


# ---- what is deployed ----


@dataclass(frozen=True)
class Deployed:
    """The processed template as far as it was made, with the names that things got."""

    resources: Mapping[str, Mapping[str, Any]]
    physical: Mapping[str, str]
    parameters: Mapping[str, str]
    names: Mapping[str, str] = field(default_factory=dict)  # what Ref and Sub stand for

    @classmethod
    def read(cls, connection: Connection) -> Deployed:
        physical: dict[str, str] = {}
        token: dict[str, str] = {}
        while True:
            page = connection.call("cloudformation", "list_stack_resources", StackName=connection.stack, **token)
            physical |= {
                one["LogicalResourceId"]: one.get("PhysicalResourceId", "") for one in page["StackResourceSummaries"]
            }
            if not page.get("NextToken"):
                break
            token = {"NextToken": page["NextToken"]}
        body = connection.call("cloudformation", "get_template", StackName=connection.stack, TemplateStage="Processed")
        template = body["TemplateBody"]
        if isinstance(template, str):
            template = json.loads(template)
        parameters = connection.parameters
        arn = connection.described["StackId"].split(":")
        pseudo = {
            "AWS::StackName": connection.stack,
            "AWS::Partition": arn[1],
            "AWS::Region": arn[3],
            "AWS::AccountId": arn[4],
        }
        resources = {name: one for name, one in template["Resources"].items() if name in physical}
        return cls(resources, physical, parameters, {**parameters, **physical, **pseudo})

    def text(self, value: Any) -> str:
        """A value of the template for people: references become the names of what they point at."""
        if isinstance(value, Mapping):
            if "Ref" in value:
                return self._short(self.names.get(value["Ref"], value["Ref"]))
            if "Fn::GetAtt" in value:
                path = value["Fn::GetAtt"]
                name = path.split(".")[0] if isinstance(path, str) else path[0]
                return self._short(self.names.get(name, name))
            if "Fn::Sub" in value:
                written = value["Fn::Sub"] if isinstance(value["Fn::Sub"], str) else value["Fn::Sub"][0]
                return re.sub(
                    r"\$\{([\w:]+)[^}]*\}", lambda match: self._short(self.names.get(match[1], match[1])), written
                )
            if "Fn::Join" in value:
                glue, parts = value["Fn::Join"]
                return str(glue).join(map(self.text, parts))
        if isinstance(value, list):
            return ", ".join(map(self.text, value))
        return str(value)

    @staticmethod
    def _short(name: str) -> str:
        """An ARN's or a URL's last part."""
        if name.startswith("arn:"):
            return re.split(r"[:/]", name)[-1]
        return name.rsplit("/", 1)[-1] if "://" in name else name

    def purpose(self, name: str) -> str:
        """What the template says it is for; where it says nothing, what follows from how it is connected."""
        resource = self.resources[name]
        properties = resource.get("Properties") or {}
        stated = (
            properties.get("Description")
            or properties.get("AlarmDescription")
            or (resource.get("Metadata") or {}).get("Purpose")
        )
        if stated:
            return self.text(stated)
        return self._follows(resource["Type"], properties)

    def _follows(self, kind: str, properties: Mapping[str, Any]) -> str:
        def of(key: str) -> str:
            return self.text(properties.get(key, ""))

        match kind:
            case "AWS::Logs::LogGroup":
                return f"The log of {of('LogGroupName').rsplit('/', 1)[-1]}."
            case "AWS::Logs::QueryDefinition":
                return f"A query for Logs Insights: {of('Name').rpartition('/')[2].lower()}."
            case "AWS::IAM::Role":
                trusted = [
                    self.text(statement.get("Principal", {}).get("Service", "somebody"))
                    for statement in properties["AssumeRolePolicyDocument"]["Statement"]
                ]
                does = ", ".join(self.text(policy["PolicyName"]) for policy in properties.get("Policies", ()))
                return f"What {', '.join(trusted)} may do here: {does or 'by managed policies'}."
            case "AWS::S3::BucketPolicy" | "AWS::SQS::QueuePolicy" | "AWS::SNS::TopicPolicy":
                on = of("Bucket") or of("Queues") or of("Topics")
                rules = [_words(str(one.get("Sid", ""))) for one in properties["PolicyDocument"]["Statement"]]
                return f"Who may reach {on}: {', '.join(filter(None, rules))}."
            case "AWS::Lambda::Permission":
                return f"Lets {of('Principal')} call {of('FunctionName')}, for {of('SourceArn') or 'any source'}."
            case "AWS::Lambda::EventSourceMapping":
                return f"Hands the messages of {of('EventSourceArn')} to {of('FunctionName')}."
            case "AWS::Lambda::EventInvokeConfig":
                failures = properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
                return (
                    f"{of('FunctionName')} is tried {int(properties.get('MaximumRetryAttempts', 2)) + 1} times; then "
                    f"{self.text(failures) if failures else 'nobody'} is told."
                )
            case "AWS::SNS::Subscription":
                return f"Sends what {of('TopicArn')} says to {of('Endpoint')} ({of('Protocol')})."
            case "AWS::Budgets::Budget":
                budget = properties["Budget"]
                limit = budget.get("BudgetLimit", {})
                alerts = ", ".join(
                    f"{self.text(one['Threshold'])} % {self.text(one['NotificationType']).lower()}"
                    for one in (given["Notification"] for given in properties.get("NotificationsWithSubscribers", ()))
                )
                return (
                    f"A budget of {self.text(limit.get('Amount'))} {self.text(limit.get('Unit'))}, "
                    f"{self.text(budget.get('TimeUnit')).lower()}; alerts at {alerts}."
                )
            case "AWS::CE::AnomalyMonitor":
                return f"Looks for unusual spending by {_words(of('MonitorDimension') or of('MonitorType')).lower()}."
            case "AWS::CE::AnomalySubscription":
                return f"Tells of unusual spending, {of('Frequency').lower()}."
        return ""


def _words(name: str) -> str:
    """CamelCase and SHOUTING_CASE as words."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.replace("_", " ")).lower().replace("tls ", "TLS ")


# ---- what the services say ----


# How S3 says that a bucket has none of it, and how Lambda, IAM, SQS and SNS say that something is gone.
_NOT_SET = {
    "ServerSideEncryptionConfigurationNotFoundError",
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchBucketPolicy",
    "NoSuchLifecycleConfiguration",
    "NoSuchBucket",
    "ResourceNotFoundException",
    "NoSuchEntity",
    "AWS.SimpleQueueService.NonExistentQueue",
    "QueueDoesNotExist",
}


class Told:
    """How a resource saves and is secured, by its own service's description."""

    SERVICES = ("s3", "sqs", "sns", "lambda", "logs", "iam")

    def __init__(self, call: Call, deployed: Deployed) -> None:
        self._call, self._deployed = call, deployed
        self.region = deployed.names["AWS::Region"]
        self._hidden: list[str] = []  # what may not be looked at

    def about(self, name: str) -> tuple[str, list[str]]:
        """What it saves, and its security measures; of those that may not be looked at, that. Raises AwsError."""
        saves, security = self._about(self._deployed.resources[name], self._deployed.physical[name])
        return saves, [*security, *(f"not visible: {operation}" for operation in self._hidden)]

    def _about(self, resource: Mapping[str, Any], physical: str) -> tuple[str, list[str]]:
        match resource["Type"]:
            case "AWS::S3::Bucket":
                return self._bucket(physical)
            case "AWS::SQS::Queue":
                return "", self._queue(physical)
            case "AWS::SNS::Topic":
                return "", self._topic(physical)
            case "AWS::Lambda::Function":
                return self._function(physical)
            case "AWS::Logs::LogGroup":
                return self._log_group(physical)
            case "AWS::IAM::Role":
                return "", self._role(physical)
        return "", []

    def _maybe(self, service: str, operation: str, **given: Any) -> dict[str, Any]:
        """A description, or an empty one: nothing is set, there is no such thing, or not allowed to look."""
        try:
            return self._call(service, operation, **given)
        except AwsError as error:
            if error.denied:
                self._hidden.append(error.operation)
            elif error.code not in _NOT_SET and not is_missing(error):
                raise  # a call that failed is no measure that is missing
            return {}

    def _bucket(self, name: str) -> tuple[str, list[str]]:
        security = []
        encryption = self._maybe("s3", "get_bucket_encryption", Bucket=name)
        for rule in encryption.get("ServerSideEncryptionConfiguration", {}).get("Rules", ()):
            security.append(f"encrypted ({rule['ApplyServerSideEncryptionByDefault']['SSEAlgorithm']})")
        block = self._maybe("s3", "get_public_access_block", Bucket=name).get("PublicAccessBlockConfiguration", {})
        if block and all(block.values()):
            security.append("public access blocked")
        security += _tls_only(self._maybe("s3", "get_bucket_policy", Bucket=name).get("Policy"))
        if self._maybe("s3", "get_bucket_versioning", Bucket=name).get("Status") == "Enabled":
            security.append("versioned")
        rules = self._maybe("s3", "get_bucket_lifecycle_configuration", Bucket=name).get("Rules", [])
        return _lifecycle(rules, self.region), security

    def _queue(self, url: str) -> list[str]:
        attributes = self._maybe("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["All"]).get(
            "Attributes", {}
        )
        encrypted = attributes.get("SqsManagedSseEnabled") == "true" or attributes.get("KmsMasterKeyId")
        return (["encrypted"] if encrypted else []) + _tls_only(attributes.get("Policy"))

    def _topic(self, arn: str) -> list[str]:
        attributes = self._maybe("sns", "get_topic_attributes", TopicArn=arn).get("Attributes", {})
        encrypted = ["encrypted"] if attributes.get("KmsMasterKeyId") else []
        limits = [
            f"{service} only for this account"
            for statement in _statements(attributes.get("Policy"))
            if statement.get("Effect") == "Allow"
            and any("sourceaccount" in key.lower() for one in statement.get("Condition", {}).values() for key in one)
            for service in _listed(
                statement["Principal"].get("Service", "") if isinstance(statement["Principal"], dict) else ""
            )
            if service
        ]
        return encrypted + _tls_only(attributes.get("Policy")) + limits

    def _function(self, name: str) -> tuple[str, list[str]]:
        found = self._maybe("lambda", "get_function_configuration", FunctionName=name)
        if not found:
            return "", []
        saves = ""
        if found.get("Architectures") == ["arm64"]:
            arm, x86 = (prices.usd(f"lambda.gb_second.{kind}", self.region) for kind in ("arm64", "x86"))
            saves = f"runs on arm64, {1 - arm / x86:.0%} below x86"
        role = found.get("Role", "").rsplit("/", 1)[-1]
        shared = sum(
            self._deployed.text((one.get("Properties") or {}).get("Role", "")) == role
            for one in self._deployed.resources.values()
            if one["Type"] == "AWS::Lambda::Function"
        )
        security = ["a role of its own"] if shared == 1 else [f"shares its role with {shared - 1} more"]
        if found.get("TracingConfig", {}).get("Mode") == "Active":
            security.append("traced")
        return saves, security

    def _log_group(self, name: str) -> tuple[str, list[str]]:
        groups = self._maybe("logs", "describe_log_groups", logGroupNamePrefix=name).get("logGroups", ())
        days = next((one.get("retentionInDays") for one in groups if one["logGroupName"] == name), None)
        return (f"forgets after {days} days" if days else ""), []

    def _role(self, name: str) -> list[str]:
        role = self._maybe("iam", "get_role", RoleName=name).get("Role")
        if role is None:
            return []
        trust = role["AssumeRolePolicyDocument"]
        trusted = [
            service
            for statement in _statements(trust)
            for service in _listed(statement.get("Principal", {}).get("Service", []))
        ]
        actions: set[str] = set()
        anywhere: set[str] = set()
        for policy in self._maybe("iam", "list_role_policies", RoleName=name).get("PolicyNames", ()):
            document = self._maybe("iam", "get_role_policy", RoleName=name, PolicyName=policy).get("PolicyDocument")
            for statement in _statements(document):
                if statement["Effect"] == "Allow":
                    asked = set(_listed(statement["Action"]))
                    actions |= asked
                    if "*" in _listed(statement.get("Resource", "*")) and not statement.get("Condition"):
                        anywhere |= asked
        wild = sorted(action for action in actions if action.endswith("*"))
        attached = self._maybe("iam", "list_attached_role_policies", RoleName=name).get("AttachedPolicies", ())
        said = [
            f"only {', '.join(trusted)} may take it",
            f"{len(actions)} actions, {len(anywhere)} of them on anything",
        ]
        if wild:
            said.append(f"whole groups of actions: {', '.join(wild)}")
        return said + [f"managed policy {policy['PolicyName']}" for policy in attached]


def _statements(document: Any) -> list[Mapping[str, Any]]:
    if isinstance(document, str):
        document = json.loads(unquote(document))
    return _listed((document or {}).get("Statement", []))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _tls_only(policy: Any) -> list[str]:
    refused = any(
        statement["Effect"] == "Deny"
        and str(statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")).lower() == "false"
        for statement in _statements(policy)
    )
    return ["TLS only"] if refused else []


_CLASSES = {"STANDARD_IA": "Standard-IA", "GLACIER_IR": "Glacier Instant Retrieval"}


def _lifecycle(rules: Iterable[Mapping[str, Any]], region: str) -> str:
    """What rules do with age, and what a colder class saves on a gigabyte."""
    standard = prices.usd("s3.gb_month.standard", region)
    said = []
    for rule in rules:
        where = (rule.get("Filter") or {}).get("Prefix") or rule.get("Prefix") or ""
        steps = []
        for step in rule.get("Transitions", ()):
            name = step["StorageClass"]
            share = ""
            if name in _CLASSES:
                share = f" ({1 - prices.usd(f's3.gb_month.{name.lower()}', region) / standard:.0%} less)"
            steps.append(f"{_CLASSES.get(name, name)} after {step.get('Days')} days{share}")
        if days := (rule.get("Expiration") or {}).get("Days"):
            steps.append(f"deleted after {days} days")
        if days := (rule.get("NoncurrentVersionExpiration") or {}).get("NoncurrentDays"):
            steps.append(f"old versions deleted after {days} days")
        if steps:
            said.append(f"{where or 'everything'}: {', '.join(steps)}")
    return "; ".join(said)


def _tags(connection: Connection, project: str) -> Mapping[str, Mapping[str, str]]:
    """ARN -> tags of what carries the project's tag; nothing where that may not be asked."""
    try:
        return tagged_resources(connection.call, (), {"Project": project})
    except AwsError as error:
        if error.denied:
            return {}
        raise


def _missing_tags(
    resource: Mapping[str, Any], physical: str, tags: Mapping[str, Mapping[str, str]]
) -> tuple[str, ...] | None:
    """Which required tags it lacks, where its template gives it tags or the tagging service knows it."""
    if resource["Type"].endswith("Policy"):  # has its bucket's name, and no tags
        return None
    name = re.split(r"://[^/]+/", physical)[-1].rsplit("/", 1)[-1] if "://" in physical else physical
    ending = re.compile(rf"(^|[:/]){re.escape(name)}(:\*)?$") if name else None
    found = next((one for arn, one in tags.items() if ending and (arn == physical or ending.search(arn))), None)
    if found is None:
        written = (resource.get("Properties") or {}).get("Tags")
        if written is None:
            return None
        keys = set(written) if isinstance(written, Mapping) else {one["Key"] for one in written}
        return tuple(tag for tag in names.REQUIRED_TAGS if tag not in keys)
    return tuple(tag for tag in names.REQUIRED_TAGS if tag not in found)


# ---- what its users run, and what was saved ----


def _metered(connection: Connection, now: datetime) -> SpendMonth | None:
    """What the meter has of this month; None before its first tick."""
    bucket, key = connection.outputs["ArtifactBucketName"], spend.month_key(holds.month_of(now))
    try:
        return spend.read_month(json.loads(connection.call("s3", "get_object", Bucket=bucket, Key=key)["Body"].read()))
    except AwsError as error:
        if is_missing(error):
            return None
        raise


def serving(facts: AdviceFacts, month: SpendMonth | None) -> Iterable[EndpointCost]:
    for one in facts.endpoints:
        if one.tags.get(STACK_TAG) != facts.stack:
            continue
        if one.kind is not HostingKind.REAL_TIME:
            usd = None if month is None else monthly(one, month)
            yield EndpointCost(one.name, f"{one.kind.value}, at this month's rate", one.hours_per_week, usd, usd)
            continue
        if one.instance_type is None:
            yield EndpointCost(one.name, "coming or going", one.hours_per_week, None, None)
            continue
        what = f"{one.instance_count} x {one.instance_type}"
        try:
            hour = prices.usd_per_hour(one.instance_type, "hosting", facts.region) * one.instance_count
        except UnknownPrice:
            yield EndpointCost(one.name, what, one.hours_per_week, None, None)
            continue
        always_on = hour * HOURS_PER_MONTH
        usd = always_on * one.hours_per_week / HOURS_PER_WEEK
        yield EndpointCost(one.name, what, one.hours_per_week, usd, always_on)


def monthly(endpoint: EndpointUse, month: SpendMonth) -> Decimal | None:
    """US dollars a month of what costs by use, if it goes on as in the month so far; None where none was metered yet.

    Over a day at least: the first hour says nothing about a month.
    """
    item = month.items.get(names.run_key(endpoint.arn, endpoint.created))
    if item is None:
        return None
    counted = item.through - max(endpoint.created, holds.month_start(month.month))
    days = max(Decimal(str(counted.total_seconds())) / 86400, Decimal(1))
    return sum(item.days.values(), Decimal(0)) / days * DAYS_PER_MONTH


def _saved(connection: Connection, now: datetime) -> Mapping[str, tuple[int, Decimal]]:
    bucket = connection.outputs["ArtifactBucketName"]
    found: dict[str, tuple[int, Decimal]] = {}
    pages = connection.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=ledger.month_prefix(now))
    for page in pages:
        for entry in page.get("Contents", ()):
            saving = ledger.parse(connection.call("s3", "get_object", Bucket=bucket, Key=entry["Key"])["Body"].read())
            times, usd = found.get(saving.kind, (0, Decimal(0)))
            found[saving.kind] = (times + 1, usd + saving.usd)
    return found
