"""`mlp check`: a deployed stack against its promises, a line each; the exit code says whether all are kept.

Everything is read from the account, nothing from this repository's template: what was changed by hand shows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from cli import hours
from cli.connection import Connection
from cli.serving import PersonsAws
from cli.terminal import Terminal
from mlplatform import names
from mlplatform.aws_calls import tagged_resources
from mlplatform.capacity import wanted_type
from mlplatform.endpoint_alarms import WATCHED
from mlplatform.errors import AwsError
from mlplatform.experiments import as_challenger
from mlplatform.facts import DATASET_TAG, STACK_TAG, Endpoint, Prediction, Unasked
from mlplatform.kinds import SLEEPERS, kind_of
from mlplatform.quotas import instances_needed, short
from mlplatform.settings import Settings
from mlplatform.sleeping import WAKE, wake_policy
from mlplatform.words import counted

console = Terminal(highlight=False)
_LOG_DAYS = 7
_ALARMS_A_PAGE = 50  # DescribeAlarms' MaxRecords where none is given (CloudWatch API reference)
_LIFECYCLE = (("STANDARD_IA", 30), ("GLACIER_IR", 90))
_EXPIRY_DAYS = 180
_ALERTS = {("ACTUAL", 80.0), ("ACTUAL", 100.0), ("FORECASTED", 100.0)}

State = Literal["pass", "fail", "skip"]


@dataclass(frozen=True)
class Line:
    """What came of one promise."""

    promise: str
    state: State
    reason: str


@dataclass(frozen=True)
class Found:
    """What a look came to: what is wrong, or what is right; a look that has nothing to look at is skipped."""

    wrong: tuple[str, ...]
    right: str
    skipped: bool = False


class Stack:
    """The deployed stack, as far as several promises ask for it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.name = connection.stack
        self.call = connection.call

    @cached_property
    def settings(self) -> Settings:
        return self.connection.settings

    @cached_property
    def aws(self) -> PersonsAws:
        return PersonsAws(self.connection, self.settings)

    @cached_property
    def resources(self) -> list[dict[str, Any]]:
        pages = self.connection.client("cloudformation").get_paginator("list_stack_resources")
        return [one for page in pages.paginate(StackName=self.name) for one in page["StackResourceSummaries"]]

    def of(self, kind: str) -> list[str]:
        """Physical ids of the stack's resources of a type."""
        return [one["PhysicalResourceId"] for one in self.resources if one["ResourceType"] == kind]

    @cached_property
    def endpoints(self) -> list[str]:
        """ARNs of the endpoints that the stack's functions made."""
        found = tagged_resources(self.call, ["sagemaker:endpoint"], {STACK_TAG: self.name})
        return [arn for arn in found if not arn.endswith(names.STAND_IN)]  # there for a while, and not configured


def check(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Hold a deployed stack against its promises; the exit code is 1 if one is broken.

    Example: `mlp check`, `mlp --laptop check --json`
    """
    stack = Stack(context.obj)
    lines = []
    for promise, look in PROMISES:
        line = _line(promise, look, stack)
        lines.append(line)
        if not as_json:
            _show(line)
    broken = sum(line.state == "fail" for line in lines)
    if as_json:
        sys.stdout.write(json.dumps([asdict(line) for line in lines], indent=1) + "\n")
    else:
        kept = sum(line.state == "pass" for line in lines)
        console.print(f"{kept} kept, {broken} broken, {len(lines) - kept - broken} with nothing to look at")
    if broken:
        raise typer.Exit(1)


def _line(promise: str, look: Callable[[Stack], Found], stack: Stack) -> Line:
    try:
        found = look(stack)
    except AwsError as error:
        return Line(promise, "fail", f"nobody could look: {error}")
    if found.wrong:
        return Line(promise, "fail", "; ".join(found.wrong))
    return Line(promise, "skip" if found.skipped else "pass", found.right)


def _show(line: Line) -> None:
    style = {"pass": "green", "fail": "bold red", "skip": "dim"}[line.state]
    console.print(f"[{style}]{line.state:<4}[/{style}]  {line.promise:<22} {escape(line.reason)}", hang=6)


# ---- the promises ----


def deployed(stack: Stack) -> Found:
    status = stack.connection.described["StackStatus"]
    wrong = () if status.endswith("_COMPLETE") and "ROLLBACK" not in status else (f"it is {status}",)
    return Found(wrong, f"{stack.name} is {status}, {len(stack.resources)} resources")


def endpoints(stack: Stack) -> Found:
    """Each endpoint's models are asked for the prediction that their training wrote down; none is woken for that."""
    wrong: list[str] = []
    unasked: list[str] = []
    for arn in stack.endpoints:
        name = arn.rpartition("/")[2]
        try:
            found = stack.aws.endpoint(name)
            if found is None or found.status != "InService":
                wrong.append(f"{name} is {found.status if found else 'gone'}")
                continue
            came = [(one, _asked(stack, one)) for one in (found, as_challenger(found)) if one is not None]
        except AwsError as error:
            wrong.append(f"{name} could not be asked: {error}")
            continue
        for one, answer in came:
            said = f"{name}, with {one.model_name}," if len(came) > 1 else name
            if answer is None:
                wrong.append(f"{said} has no model with a stored prediction")
            elif isinstance(answer, Unasked):
                unasked.append(f"{said} was not asked, because {answer.why}")
            elif not answer.correct:
                wrong.append(f"{said} answers wrongly: {answer.explanation}")
    parked = hours.asleep(stack.connection)
    sleep = f", {len(parked)} asleep ({', '.join(sorted(parked))})" if parked else ""
    if not stack.endpoints:
        return Found((), f"no endpoint runs{sleep}", skipped=not parked)
    said = "".join(f"; {one}" for one in unasked)
    return Found(tuple(wrong), f"{len(stack.endpoints) - len(unasked)} answered as in training{sleep}{said}")


def scaling(stack: Stack) -> Found:
    """Every endpoint with instances that can scale has a target and policies."""
    wrong: list[str] = []
    scaled = 0
    for arn in stack.endpoints:
        name = arn.rpartition("/")[2]
        found = stack.call("sagemaker", "describe_endpoint", EndpointName=name)
        config = stack.call("sagemaker", "describe_endpoint_config", EndpointConfigName=found["EndpointConfigName"])
        for variant in config["ProductionVariants"]:
            if (wanted_type(variant) or "ml.t").startswith("ml.t"):
                continue  # serverless, or burstable: it can't scale
            resource = names.scalable_target(name, variant["VariantName"], kind=kind_of(config))["ResourceId"]
            policies = stack.call(
                "application-autoscaling",
                "describe_scaling_policies",
                ServiceNamespace="sagemaker",
                ResourceId=resource,
            )["ScalingPolicies"]
            if policies:
                scaled += 1
            else:
                wrong.append(f"{resource} has no scaling policy")
    return Found(
        tuple(wrong),
        f"{counted(scaled, 'variant')} scale{'s' if scaled == 1 else ''}" if scaled else "no endpoint runs",
        skipped=not scaled,
    )


def budget(stack: Stack) -> Found:
    account = stack.call("sts", "get_caller_identity")["Account"]
    name = stack.connection.outputs["BudgetName"]
    found = stack.call("budgets", "describe_budget", AccountId=account, BudgetName=name)["Budget"]
    alerts = stack.call("budgets", "describe_notifications_for_budget", AccountId=account, BudgetName=name)
    there = {(one["NotificationType"], float(one["Threshold"])) for one in alerts.get("Notifications", ())}
    missing = [f"no alert at {threshold:g} % {kind.lower()}" for kind, threshold in sorted(_ALERTS - there)]
    limit = found["BudgetLimit"]
    given = stack.connection.parameters
    if float(limit["Amount"]) != float(given["MonthlyBudgetUsd"]):
        missing.append(f"its limit is {limit['Amount']}, not the {given['MonthlyBudgetUsd']} that were set")
    if given["Project"] not in json.dumps(found.get("CostFilters") or found.get("FilterExpression") or {}):
        missing.append("it is not limited to the project's tag")
    return Found(tuple(missing), f"{name}: {float(limit['Amount']):g} {limit['Unit']} a month, {len(there)} alerts")


def alarms(stack: Stack) -> Found:
    topic = stack.connection.outputs["AlertsTopicArn"]
    actions = dict.fromkeys(stack.of("AWS::CloudWatch::Alarm"), topic) | dict(_endpoint_alarms(stack, topic))
    wanted = list(actions)
    found = {
        one["AlarmName"]: one
        for start in range(0, len(wanted), _ALARMS_A_PAGE)
        for one in stack.call("cloudwatch", "describe_alarms", AlarmNames=wanted[start : start + _ALARMS_A_PAGE]).get(
            "MetricAlarms", ()
        )
    }
    wrong = [f"{name} does not exist" for name in wanted if name not in found]
    wrong += [
        f"{name} {'tells nobody' if actions[name] == topic else 'wakes nothing'}"
        for name, one in found.items()
        if not one.get("ActionsEnabled") or actions[name] not in one.get("AlarmActions", ())
    ]
    waking = sum(action != topic for action in actions.values())
    said = f", {waking} wake an endpoint" if waking else ""
    ringing, waiting = not_ok(found.values(), stack.connection.now())
    said += f"; in alarm now: {', '.join(ringing)}" if ringing else ""
    said += f"; too new to have data: {', '.join(waiting)}" if waiting else ""
    return Found(tuple(wrong), f"{len(found) - waking} tell the alerts topic{said}")


def not_ok(alarms: Iterable[Mapping[str, Any]], now: datetime) -> tuple[list[str], list[str]]:
    """Names of the alarms that ring, and of those that can't know yet. One that tells of missing data says so by its
    state: the tick that it watches has not come, or the alarm is younger than the time that it looks back over."""
    ringing = [str(one["AlarmName"]) for one in alarms if one.get("StateValue") == "ALARM"]
    waiting = []
    for one in alarms:
        if one.get("StateValue") == "INSUFFICIENT_DATA" and one.get("InsufficientDataActions"):
            looks_back = timedelta(seconds=one["Period"] * one["EvaluationPeriods"])
            if now - one["AlarmConfigurationUpdatedTimestamp"] < looks_back:
                waiting.append(str(one["AlarmName"]))
            else:
                ringing.append(f"{one['AlarmName']} (no data)")
    return ringing, waiting


def _asked(stack: Stack, endpoint: Endpoint) -> Prediction | Unasked | None:
    """None where nothing is stored that it could be asked for."""
    card = stack.aws.stored_card(endpoint.tags.get(DATASET_TAG, ""), endpoint.model_name or "")
    return None if card is None else stack.aws.smoke_test(endpoint, card.sample_json)


def _endpoint_alarms(stack: Stack, topic: str) -> Iterator[tuple[str, str]]:
    """Those that each endpoint in service should have, each with its action: the alerts topic, or, of what sleeps, the
    scaling policy that wakes it; an empty one where there is no such policy."""
    for arn in stack.endpoints:
        name = arn.rpartition("/")[2]
        found = stack.call("sagemaker", "describe_endpoint", EndpointName=name)
        if found["EndpointStatus"] != "InService":
            continue
        config = stack.call("sagemaker", "describe_endpoint_config", EndpointConfigName=found["EndpointConfigName"])
        kind = kind_of(config)
        several = [one["VariantName"] for one in config["ProductionVariants"]]
        for variant in several if len(several) > 1 else (names.VARIANT,):
            yield from ((names.alarm(name, what, variant), topic) for what in WATCHED[kind])
        if kind in SLEEPERS:
            policies = stack.call(
                "application-autoscaling",
                "describe_scaling_policies",
                ServiceNamespace="sagemaker",
                ResourceId=names.scalable_target(name, kind=kind)["ResourceId"],
                PolicyNames=[wake_policy(name)],
            )["ScalingPolicies"]
            arns = [one["PolicyARN"] for one in policies if one["PolicyName"] == wake_policy(name)]
            yield names.alarm(name, WAKE), next(iter(arns), "")


def told(stack: Stack) -> Found:
    """Somebody must hear the alerts: Slack, or an e-mail address that was confirmed."""
    topic = stack.connection.outputs["AlertsTopicArn"]
    subscriptions = stack.call("sns", "list_subscriptions_by_topic", TopicArn=topic)["Subscriptions"]
    mail = [one for one in subscriptions if one["Protocol"] == "email" and one["SubscriptionArn"].startswith("arn:")]
    try:
        stack.call("ssm", "get_parameter", Name=stack.settings.slack_webhook_parameter)
        slack = True
    except AwsError as error:
        if error.code != "ParameterNotFound":
            raise
        slack = False
    if not slack and not mail:
        return Found(("nobody hears the alerts; run `mlp slack set`, or set AlertEmail and confirm it",), "")
    return Found(
        (), " and ".join([*(["Slack"] if slack else []), *([f"{len(mail)} e-mail addresses"] if mail else [])])
    )


def failures(stack: Stack) -> Found:
    """An event that a function can't handle is told by its failure destination, or, of what it takes from a queue, by
    that queue's dead letters: Lambda sends those to no destination."""
    queues = {url.rpartition("/")[2]: url for url in stack.of("AWS::SQS::Queue")}
    heard = {stack.connection.outputs["AlertsTopicArn"].rpartition(":")[2], *queues}
    targets = {name: _told_by(stack, name, queues) for name in sorted(stack.of("AWS::Lambda::Function"))}
    wrong = [
        f"{name} fails without a word: {f'{target} is not of this stack' if target else 'its failures go nowhere'}"
        for name, target in targets.items()
        if target not in heard
    ]
    silent = sum(target in queues for target in targets.values())
    return Found(
        tuple(wrong), f"{len(targets) - silent} functions tell the alerts topic, {silent} the dead letters' alarms"
    )


def _told_by(stack: Stack, function: str, queues: Mapping[str, str]) -> str:
    """The name of the topic or queue that gets what a function could not handle; empty where none does."""
    sources = stack.call("lambda", "list_event_source_mappings", FunctionName=function)["EventSourceMappings"]
    if sources:
        url = queues.get(sources[0]["EventSourceArn"].rpartition(":")[2], "")
        attributes = stack.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["RedrivePolicy"])
        arn = json.loads(attributes.get("Attributes", {}).get("RedrivePolicy", "{}")).get("deadLetterTargetArn", "")
    else:
        try:
            config = stack.call("lambda", "get_function_event_invoke_config", FunctionName=function)
        except AwsError as error:
            if error.code != "ResourceNotFoundException":
                raise
            return ""
        arn = config.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination", "")
    return str(arn).rpartition(":")[2]


def tags(stack: Stack) -> Found:
    """Of everything with the project's tag or the stack's, the tagging service tells the keys."""
    lacking: dict[str, list[str]] = {}
    for key, value in (("Project", stack.connection.parameters["Project"]), (STACK_TAG, stack.name)):
        for arn, there in tagged_resources(stack.call, (), {key: value}).items():
            if missing := [tag for tag in names.REQUIRED_TAGS if tag not in there]:
                lacking[arn] = missing
    wrong = tuple(f"{arn} lacks {', '.join(missing)}" for arn, missing in sorted(lacking.items()))
    return Found(wrong, f"{', '.join(names.REQUIRED_TAGS)} on everything that was found")


def schedules(stack: Stack) -> Found:
    wrong, times = [], []
    for name in stack.of("AWS::Scheduler::Schedule"):
        found = stack.call("scheduler", "get_schedule", Name=name.rpartition("/")[2])
        if found["State"] != "ENABLED":
            wrong.append(f"{name} is {found['State']}")
        zone = found.get("ScheduleExpressionTimezone", "UTC")
        times.append(f"{found['Name'].removeprefix(f'{stack.name}-')} {found['ScheduleExpression']} {zone}")
    for name in stack.of("AWS::Events::Rule"):
        found = stack.call("events", "describe_rule", Name=name.rpartition("/")[2])
        if found["State"] != "ENABLED":
            wrong.append(f"the rule {name} is {found['State']}")
    return Found(tuple(wrong), "; ".join(times))


def lifecycle(stack: Stack) -> Found:
    bucket = stack.connection.outputs["DataBucketName"]
    rules = stack.call("s3", "get_bucket_lifecycle_configuration", Bucket=bucket).get("Rules", [])
    steps = {
        (step["StorageClass"], step["Days"])
        for rule in rules
        if rule["Status"] == "Enabled"
        for step in rule.get("Transitions", ())
    }
    wrong = [f"no transition to {kind} after {days} days" for kind, days in _LIFECYCLE if (kind, days) not in steps]
    if _EXPIRY_DAYS not in {(rule.get("Expiration") or {}).get("Days") for rule in rules}:
        wrong.append(f"training data is not deleted after {_EXPIRY_DAYS} days")
    return Found(tuple(wrong), "Standard-IA after 30 days, Glacier Instant Retrieval after 90, deleted after 180")


def buckets(stack: Stack) -> Found:
    wrong: list[str] = []
    names_ = stack.of("AWS::S3::Bucket")
    for bucket in names_:
        wrong += [f"{bucket}: {what}" for what in _open_doors(stack, bucket)]
    return Found(tuple(wrong), f"{len(names_)} encrypted, versioned, no public access, TLS only")


def _open_doors(stack: Stack, bucket: str) -> Iterator[str]:
    def configured(operation: str, member: str) -> Any:
        try:
            return stack.call("s3", operation, Bucket=bucket).get(member)
        except AwsError as error:
            if error.code.startswith(("NoSuch", "ServerSideEncryptionConfigurationNotFound")):
                return None
            raise

    if not configured("get_bucket_encryption", "ServerSideEncryptionConfiguration"):
        yield "not encrypted"
    block = configured("get_public_access_block", "PublicAccessBlockConfiguration") or {}
    if not block or not all(block.values()):
        yield "public access is not blocked"
    if configured("get_bucket_versioning", "Status") != "Enabled":
        yield "not versioned"
    policy = json.loads(configured("get_bucket_policy", "Policy") or "{}")
    if not any(
        one["Effect"] == "Deny"
        and str(one.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")).lower() == "false"
        for one in policy.get("Statement", ())
    ):
        yield "takes requests without TLS"


def retention(stack: Stack) -> Found:
    wanted = stack.of("AWS::Logs::LogGroup")
    pages = stack.connection.logs.get_paginator("describe_log_groups")
    days = {
        one["logGroupName"]: one.get("retentionInDays")
        for page in pages.paginate(logGroupNamePrefix=f"/aws/lambda/{stack.name}-")
        for one in page["logGroups"]
    }
    wrong = tuple(f"{name} keeps {days.get(name) or 'everything'}" for name in wanted if days.get(name) != _LOG_DAYS)
    return Found(wrong, f"{len(wanted)} logs forget after {_LOG_DAYS} days")


def dashboard(stack: Stack) -> Found:
    name = stack.connection.outputs.get("DashboardName", "")
    body = stack.call("cloudwatch", "get_dashboard", DashboardName=name)["DashboardBody"]
    return Found((), f"{name}, {len(json.loads(body)['widgets'])} widgets")


def roles(stack: Stack) -> Found:
    """One role a function, no managed policy, and no group of actions."""
    wrong: list[str] = []
    taken: dict[str, str] = {}
    for function in stack.of("AWS::Lambda::Function"):
        role = stack.call("lambda", "get_function_configuration", FunctionName=function)["Role"]
        if role in taken:
            wrong.append(f"{function} and {taken[role]} share a role")
        taken[role] = function
    for role in stack.of("AWS::IAM::Role"):
        attached = stack.call("iam", "list_attached_role_policies", RoleName=role)["AttachedPolicies"]
        wrong += [f"{role} has the managed policy {one['PolicyName']}" for one in attached]
        for policy in stack.call("iam", "list_role_policies", RoleName=role)["PolicyNames"]:
            document = stack.call("iam", "get_role_policy", RoleName=role, PolicyName=policy)["PolicyDocument"]
            for statement in document["Statement"]:
                actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                wrong += [
                    f"{role} may {action}" for action in actions if "*" in action and statement["Effect"] == "Allow"
                ]
    return Found(tuple(wrong), f"{len(taken)} functions have a role each, with named actions only")


def quotas(stack: Stack) -> Found:
    """Of the instance types that the stack is set to; a new account has none of some (Service Quotas console)."""
    settings = stack.settings
    wanted = (
        instances_needed(settings.training_instance_type, "spot training job", 1, "a training"),
        instances_needed(
            settings.hosting_instance_type, "endpoint", 2 * settings.min_instances, "an endpoint that is updated"
        ),
    )
    there = stack.aws.quotas()
    if not there:  # not everybody may look, and the quotas hold all the same
        return Found((), "this account tells no quotas, or not to you", skipped=True)
    wrong = tuple(f"{said}; ask for more in Service Quotas" for need in wanted if (said := short(need, there)))
    known = (f"{one.quota}: {there[one.quota]:g}" if one.quota in there else f"{one.quota}: not told" for one in wanted)
    return Found(wrong, ", ".join(known))


def teardown(stack: Stack) -> Found:
    """What functions made must go with the stack."""
    there = stack.of("Custom::TearDown")
    return Found(() if there else ("what functions made would outlive the stack",), "the stack takes everything along")


PROMISES: tuple[tuple[str, Callable[[Stack], Found]], ...] = (
    ("stack", deployed),
    ("endpoints answer", endpoints),
    ("endpoints scale", scaling),
    ("budget", budget),
    ("alarms", alarms),
    ("people are told", told),
    ("failures are told", failures),
    ("tags", tags),
    ("schedules and rules", schedules),
    ("lifecycle", lifecycle),
    ("buckets are closed", buckets),
    ("logs are short-lived", retention),
    ("dashboard", dashboard),
    ("roles", roles),
    ("quotas", quotas),
    ("teardown", teardown),
)
