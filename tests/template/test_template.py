"""The template's own rules, most of them about what must not be forgotten when a resource is added."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
from template.template import ROOT, SAMCONFIG, TAGS, TEXT, listed, raw, resources, statements, transformed

from laptop.insights import Query
from mlplatform import slack
from mlplatform.decisions import Decision
from mlplatform.platform_cost import calls_per_month
from mlplatform.settings import Settings, read_settings
from mlplatform.ticks import EVERY
from notify import FAILED

FUNCTIONS = sorted(resources("AWS::Lambda::Function"))
ROLES = sorted(resources("AWS::IAM::Role"))
LAMBDA = "AWS::Lambda::Function"
NOT_SETTINGS = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "LOG_LEVEL"}


# ------------------------------------------------------------------------------------------------------- parameters
@pytest.mark.parametrize("environment", [name for name in SAMCONFIG if name != "version"])
def test_every_value_in_samconfig_is_one_that_the_template_takes(environment: str) -> None:
    parameters = raw()["Parameters"]
    overrides = SAMCONFIG[environment]["deploy"]["parameters"]["parameter_overrides"]
    for name, value in (override.split("=", 1) for override in overrides):
        rule = parameters[name]
        assert re.fullmatch(rule.get("AllowedPattern", ".*"), value), name
        assert value in rule.get("AllowedValues", [value]), name
        if rule["Type"] == "Number":
            assert rule["MinValue"] <= int(value) <= rule["MaxValue"], name


@pytest.mark.parametrize("name", sorted(raw()["Parameters"]))
def test_a_parameter_has_a_description_a_default_that_it_accepts_itself_and_a_group(name: str) -> None:
    parameter = raw()["Parameters"][name]
    groups = raw()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert parameter["Description"].endswith(".")
    assert re.fullmatch(parameter.get("AllowedPattern", ".*"), str(parameter["Default"]))
    assert [group["Parameters"].count(name) for group in groups].count(1) == 1
    if parameter["Type"] == "String":
        assert "AllowedPattern" in parameter or "AllowedValues" in parameter
    else:
        assert parameter["MinValue"] <= parameter["Default"] <= parameter["MaxValue"]


@pytest.mark.parametrize("field", [one for one in fields(Settings) if one.type == "int"], ids=lambda one: one.name)
def test_a_whole_number_has_the_same_bounds_as_a_parameter_and_as_a_setting(field: Any) -> None:
    reference = raw()["Globals"]["Function"]["Environment"]["Variables"][field.name.upper()]
    parameter = raw()["Parameters"][reference["Ref"]]
    accepts = field.metadata["form"].accepts
    smallest, largest = parameter["MinValue"], parameter["MaxValue"]
    assert [accepts(str(number)) for number in (smallest, largest)] == [True, True]
    assert [accepts(str(number)) for number in (smallest - 1, largest + 1)] == [False, False]


# -------------------------------------------------------------------------------------------------------- functions
def test_every_function_file_is_a_function_of_the_stack_and_named_after_it() -> None:
    files = {path.stem for path in (ROOT / "functions").glob("*.py")}
    named = {
        function["Handler"].removesuffix(".handler"): function["FunctionName"]
        for function in resources("AWS::Lambda::Function").values()
    }
    assert named == {file: f"shop-{file.replace('_', '-')}" for file in files}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_environment_variable_is_a_setting_and_the_other_way_round(name: str) -> None:
    variables = set(resources("AWS::Lambda::Function")[name]["Environment"]["Variables"])
    settings = {field.name.upper() for field in fields(Settings)} - {"AWS_REGION"}  # Lambda's own
    assert variables - NOT_SETTINGS == settings
    assert variables >= NOT_SETTINGS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_defaults_of_the_template_are_settings_that_a_function_accepts(name: str) -> None:
    variables = resources("AWS::Lambda::Function")[name]["Environment"]["Variables"]
    settings = read_settings({**{key: str(value) for key, value in variables.items()}, "AWS_REGION": "us-east-1"})
    assert settings.stack_name == "shop"
    assert settings.required_tags == {
        "Project": "ml-platform", "Environment": "dev", "CostCenter": "machine-learning", "Owner": "ml-team"
    }  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_keeps_its_log_for_seven_days_under_its_own_name(name: str) -> None:
    function = resources("AWS::Lambda::Function")[name]
    groups = {group["LogGroupName"]: group for group in resources("AWS::Logs::LogGroup").values()}
    assert function["LoggingConfig"]["LogGroup"] == f"/aws/lambda/{function['FunctionName']}"
    assert groups[f"/aws/lambda/{function['FunctionName']}"]["RetentionInDays"] == 7


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_a_failure_destination_that_it_may_send_to(name: str) -> None:
    function = resources("AWS::Lambda::Function")[name]
    mappings = resources("AWS::Lambda::EventSourceMapping").values()
    polled = [m["EventSourceArn"] for m in mappings if m["FunctionName"].endswith(f":{function['FunctionName']}")]
    if polled:  # Lambda sends nothing on for a queue: the queue's own redrive does
        queues = {q["QueueName"]: q for q in resources("AWS::SQS::Queue").values()}
        redrive = queues[polled[0].split(":")[-1]]["RedrivePolicy"]
        assert redrive["deadLetterTargetArn"].split(":")[-1] in queues
        return
    invoke = next(
        config for config in resources("AWS::Lambda::EventInvokeConfig").values()
        if config["FunctionName"] == function["FunctionName"]
    )  # fmt: skip
    destination = invoke["DestinationConfig"]["OnFailure"]["Destination"]
    action = "sns:Publish" if ":sns:" in destination else "sqs:SendMessage"
    role = f"{name.removesuffix('Function')}Role"
    assert any(action in listed(s["Action"]) and destination in listed(s["Resource"]) for s in statements(role))


def test_a_failing_notifier_does_not_alert_itself() -> None:
    destination = next(
        config["DestinationConfig"]["OnFailure"]["Destination"]
        for config in resources("AWS::Lambda::EventInvokeConfig").values()
        if config["FunctionName"] == "shop-notify"
    )
    assert destination == "arn:aws:sqs:us-east-1:123456789012:shop-dead-letters"


def test_the_notifier_outlives_a_slack_that_hangs_so_that_its_error_is_kept() -> None:
    worst_seconds = slack.ATTEMPTS * slack.TIMEOUT_SECONDS + (slack.ATTEMPTS - 1) * slack.LONGEST_WAIT_SECONDS
    assert worst_seconds < resources("AWS::Lambda::Function")["NotifyFunction"]["Timeout"]


def test_the_runtime_is_python_3_13_on_arm64() -> None:
    for function in resources("AWS::Lambda::Function").values():
        assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["arm64"])


def test_the_model_code_is_published_again_when_its_layer_changes() -> None:
    layers = [name for name in transformed()["Resources"] if name.startswith("ModelCodeLayer")]
    assert transformed()["Resources"]["ModelCode"]["Properties"]["LayerVersion"] == {"Ref": layers[0]}
    assert layers[0] != "ModelCodeLayer"  # SAM adds a hash of the content's address


def test_a_parameter_that_only_a_function_can_judge_is_judged_at_every_deployment_that_changes_it() -> None:
    judged = transformed()["Resources"]["ModelCode"]["Properties"]["Settings"]
    assert [reference["Ref"] for reference in judged] == [
        "OfficeHours", "TimeZone", "Holidays", "DailyCeilingUsd", "MonthlyCeilingUsd"
    ]  # fmt: skip


def test_building_a_function_takes_nothing_but_make(tmp_path: Path) -> None:
    for name in FUNCTIONS:
        built = tmp_path / name
        built.mkdir()
        subprocess.run(["make", "-s", f"build-{name}", f"ARTIFACTS_DIR={built}"], cwd=ROOT / "functions", check=True)
        handler = resources("AWS::Lambda::Function")[name]["Handler"]
        assert (built / f"{handler.removesuffix('.handler')}.py").is_file()


def test_the_layer_pins_what_the_tests_run_with() -> None:
    def pins(path: str) -> set[str]:
        lines = (ROOT / path).read_text().splitlines()
        return {line.split("#")[0].strip().lower().replace("_", "-") for line in lines if "==" in line}

    assert pins("layers/platform/requirements.txt") <= pins("requirements.txt")


# ------------------------------------------------------------------------------------------------------ every resource
def test_every_resource_that_can_be_tagged_has_the_required_tags() -> None:
    untagged = []
    for name, resource in transformed()["Resources"].items():
        if resource["Type"].startswith("Custom::"):
            continue
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", resource["Type"]).schema
        if not schema.get("tagging", {}).get("taggable", "Tags" in schema["properties"]):
            continue
        where = schema.get("tagging", {}).get("tagProperty", "/properties/Tags").rpartition("/")[2]
        tags = resource["Properties"].get(where, [])
        if {"Key": "Project", "Value": {"Ref": "Project"}} not in tags:
            untagged.append(name)
            continue
        assert [tag["Key"] for tag in tags] == TAGS, name
        assert all(tag["Value"] == {"Ref": tag["Key"]} for tag in tags), name
    assert untagged == []


def test_every_star_has_a_comment_that_says_why() -> None:
    for number, line in enumerate(TEXT.splitlines(), start=1):
        if re.search(r"""(Resource|Principal):\s*["']\*["']""", line):
            assert "# " in line, f"template.yaml line {number}"


@pytest.mark.parametrize("role", ROLES)
def test_a_policy_names_its_actions_and_resources(role: str) -> None:
    for statement in statements(role):
        assert statement["Effect"] == "Allow"
        assert all("*" not in action for action in listed(statement["Action"])), statement["Sid"]
        assert "NotAction" not in statement
        assert "NotResource" not in statement
    assert "ManagedPolicyArns" not in resources("AWS::IAM::Role")[role]


@pytest.mark.parametrize("role", ROLES)
def test_only_actions_without_resources_are_allowed_on_everything(role: str) -> None:
    without_resources = {
        "xray:PutTraceSegments",
        "xray:PutTelemetryRecords",
        "cloudwatch:PutMetricData",
        "ecr:GetAuthorizationToken",
        "application-autoscaling:DescribeScalableTargets",
        "application-autoscaling:DescribeScalingPolicies",
        "sagemaker:ListModelPackages",
        "cloudwatch:DescribeAlarms",
        "cloudwatch:GetMetricStatistics",
        "application-autoscaling:DescribeScheduledActions",
        "ce:GetCostAndUsage",
        "ce:GetCostForecast",
        "ce:ListCostAllocationTags",
        "ce:UpdateCostAllocationTagsStatus",
        "sagemaker:ListEndpoints",
        "sagemaker:ListInferenceComponents",
        "sagemaker:ListTrainingJobs",
        "sagemaker:ListHyperParameterTuningJobs",
        "sagemaker:ListModelPackageGroups",
        "sagemaker:ListEndpointConfigs",
        "sagemaker:ListModels",
        "sagemaker:Search",
        "cloudwatch:GetMetricData",
        "logs:DescribeLogGroups",
        "s3:ListAllMyBuckets",
        "ec2:DescribeNatGateways",
        "ec2:DescribeVpcEndpoints",
        "ec2:DescribeVolumes",
        "ec2:DescribeSnapshots",
        "eks:ListClusters",
        "eks:DescribeClusterVersions",
        "savingsplans:DescribeSavingsPlans",
        "servicequotas:ListServiceQuotas",
        "tag:GetResources",
        "sagemaker:ListNotebookInstances",
        "sagemaker:ListProcessingJobs",
        "sagemaker:ListTransformJobs",
        "cloudtrail:LookupEvents",
    }
    for statement in statements(role):
        if "*" in listed(statement["Resource"]):
            assert set(listed(statement["Action"])) <= without_resources, statement["Sid"]


def test_roles_are_passed_to_sagemaker_only() -> None:
    passing = [(role, s) for role in ROLES for s in statements(role) if "iam:PassRole" in listed(s["Action"])]
    assert {role for role, _ in passing} == {
        "StartTrainingRole",
        "DeployModelRole",
        "ConfigureAutoscalingRole",
        "KeepOfficeHoursRole",
        "CompareModelsRole",
        "PipelineRole",
    }
    for _, statement in passing:
        assert statement["Resource"] == "arn:aws:iam::123456789012:role/trainingrole-name"
        assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}


# ---------------------------------------------------------------------------------------------------------- storage
@pytest.mark.parametrize("bucket", ["DataBucket", "ArtifactBucket"])
def test_a_bucket_is_private_encrypted_versioned_and_outlives_the_stack(bucket: str) -> None:
    properties = resources("AWS::S3::Bucket")[bucket]
    assert "BucketName" not in properties  # any stack name must do, in any account
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    encryption = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert transformed()["Resources"][bucket]["DeletionPolicy"] == "Retain"
    assert transformed()["Resources"][bucket]["UpdateReplacePolicy"] == "Retain"


def test_whatever_holds_data_or_messages_is_reached_by_tls_only() -> None:
    wanted = {
        name
        for name, resource in transformed()["Resources"].items()
        if resource["Type"] in ("AWS::S3::Bucket", "AWS::SQS::Queue", "AWS::SNS::Topic")
    }
    protected = set()
    for resource in transformed()["Resources"].values():
        properties = resource["Properties"]
        for statement in properties.get("PolicyDocument", {}).get("Statement", []):
            if statement["Effect"] == "Deny" and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}:
                named = properties.get("Queues") or properties.get("Topics") or [properties["Bucket"]]
                protected |= {reference["Ref"] for reference in named}
    assert protected == wanted


def lifecycle(bucket: str) -> dict[str, dict[str, Any]]:
    return {rule["Id"]: rule for rule in resources("AWS::S3::Bucket")[bucket]["LifecycleConfiguration"]["Rules"]}


def test_training_data_gets_colder_after_30_and_90_days_and_goes_after_180() -> None:
    rule = lifecycle("DataBucket")["old-training-data"]
    assert rule["Prefix"] == "datasets/"
    assert rule["Transitions"] == [
        {"StorageClass": "STANDARD_IA", "TransitionInDays": 30},
        {"StorageClass": "GLACIER_IR", "TransitionInDays": 90},
    ]
    assert rule["ExpirationInDays"] == 180


def test_models_get_colder_but_never_go_because_an_endpoint_may_need_them() -> None:
    rule = lifecycle("ArtifactBucket")["old-models"]
    assert rule["Prefix"] == "training-output/"
    assert [move["TransitionInDays"] for move in rule["Transitions"]] == [30, 90]
    expiring = {r["Prefix"] for r in lifecycle("ArtifactBucket").values() if "ExpirationInDays" in r}
    assert expiring == {"checkpoints/", "manifests/", "prepared/", "cost-explorer/", "queued/"}


@pytest.mark.parametrize("bucket", ["DataBucket", "ArtifactBucket"])
def test_what_nobody_sees_is_not_paid_for_long(bucket: str) -> None:
    rule = lifecycle(bucket)["leftovers"]
    assert "Prefix" not in rule
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}


# ----------------------------------------------------------------------------------------------------------- queues
def test_the_drop_queue_delays_by_the_settle_time_and_outwaits_six_runs_of_its_function() -> None:
    queue = transformed()["Resources"]["DropQueue"]["Properties"]
    function = resources("AWS::Lambda::Function")["StartTrainingFunction"]
    assert queue["DelaySeconds"] == {"Ref": "DropSettleSeconds"}
    assert queue["VisibilityTimeout"] >= 6 * function["Timeout"]
    assert raw()["Parameters"]["DropSettleSeconds"]["Default"] == 30


def test_a_failed_drop_comes_back_without_the_ones_that_went_well() -> None:
    source = resources("AWS::Lambda::EventSourceMapping")["StartTrainingSource"]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_every_dead_letter_queue_raises_an_alarm() -> None:
    dead = {q["QueueName"] for q in resources("AWS::SQS::Queue").values() if q["QueueName"].endswith("dead-letters")}
    alarms = [one for one in resources("AWS::CloudWatch::Alarm").values() if one["Namespace"] == "AWS/SQS"]
    assert len(dead) == 2
    assert {alarm["Dimensions"][0]["Value"] for alarm in alarms} == dead
    for alarm in alarms:
        assert alarm["AlarmActions"] == ["arn:aws:sns:us-east-1:123456789012:shop-alerts"]
        assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (0, "GreaterThanThreshold")
        assert alarm["AlarmName"].startswith("shop-")  # the topic's policy lets in alarms so named


def test_functions_that_fail_again_and_again_have_one_alarm_on_what_the_notifier_counts() -> None:
    alarm = resources("AWS::CloudWatch::Alarm")["FailedFunctionsAlarm"]
    told = resources("AWS::Lambda::Function")["NotifyFunction"]["Environment"]["Variables"]
    assert alarm["Namespace"] == told["POWERTOOLS_METRICS_NAMESPACE"]
    assert alarm["Dimensions"] == [{"Name": "service", "Value": told["POWERTOOLS_SERVICE_NAME"]}]
    assert alarm["MetricName"] == FAILED
    assert alarm["AlarmActions"] == ["arn:aws:sns:us-east-1:123456789012:shop-alerts"]


def test_events_come_only_from_the_stacks_own_rules() -> None:
    rules = {f"arn:aws:events:us-east-1:123456789012:rule/{r['Name']}" for r in resources("AWS::Events::Rule").values()}
    for policy in resources("AWS::SQS::QueuePolicy").values():
        for statement in policy["PolicyDocument"]["Statement"]:
            if statement["Principal"] == {"Service": "events.amazonaws.com"}:
                assert set(listed(statement["Condition"]["ArnEquals"]["aws:SourceArn"])) <= rules
    for permission in resources("AWS::Lambda::Permission").values():
        assert permission["SourceArn"] in rules | {"arn:aws:sns:us-east-1:123456789012:shop-alerts"}


def test_every_rule_keeps_what_it_cannot_deliver_and_may_do_so() -> None:
    policy = resources("AWS::SQS::QueuePolicy")["DeadLettersPolicy"]["PolicyDocument"]["Statement"]
    allowed = next(s for s in policy if s["Sid"] == "UndeliveredEvents")["Condition"]["ArnEquals"]["aws:SourceArn"]
    for rule in resources("AWS::Events::Rule").values():
        assert f"arn:aws:events:us-east-1:123456789012:rule/{rule['Name']}" in allowed
        for target in rule["Targets"]:
            assert target["DeadLetterConfig"] == {"Arn": "arn:aws:sqs:us-east-1:123456789012:shop-dead-letters"}


# ------------------------------------------------------------------------------------------------------------ spend
TOPIC = "arn:aws:sns:us-east-1:123456789012:shop-alerts"


def test_the_budget_is_of_the_projects_tag_in_the_only_form_that_sees_anything() -> None:
    budget = resources("AWS::Budgets::Budget")["MonthlyBudget"]["Budget"]
    assert budget["CostFilters"] == {"TagKeyValue": ["user:Project$ml-platform"]}
    assert (budget["BudgetLimit"], budget["TimeUnit"]) == ({"Amount": 500, "Unit": "USD"}, "MONTHLY")
    assert raw()["Outputs"]["BudgetName"]["Value"] == {"Ref": "MonthlyBudget"}


def test_the_budget_speaks_at_80_and_100_percent_and_at_a_forecast_of_100() -> None:
    notifications = resources("AWS::Budgets::Budget")["MonthlyBudget"]["NotificationsWithSubscribers"]
    assert [(n["Notification"]["NotificationType"], n["Notification"]["Threshold"]) for n in notifications] == [
        ("ACTUAL", 80),
        ("ACTUAL", 100),
        ("FORECASTED", 100),
    ]


def test_no_parameter_is_in_what_a_named_budget_can_never_change() -> None:
    """CloudFormation replaces a budget whose notifications change, and cannot while its name is taken."""
    text = json.dumps(transformed()["Resources"]["MonthlyBudget"]["Properties"]["NotificationsWithSubscribers"])
    assert {name for name in raw()["Parameters"] if f'{{"Ref": "{name}"}}' in text} == set()
    assert text.count('{"Ref": "AlertsTopic"}') == 3


def test_anomalies_are_watched_by_the_projects_tag_and_told_at_once() -> None:
    monitor = resources("AWS::CE::AnomalyMonitor")["ProjectAnomalyMonitor"]
    assert json.loads(monitor["MonitorSpecification"]) == {"Tags": {"Key": "Project", "Values": ["ml-platform"]}}
    alerts = resources("AWS::CE::AnomalySubscription")["AnomalyAlerts"]
    assert alerts["MonitorArnList"] == ["arn:aws:ce::123456789012:anomalymonitor/projectanomalymonitor"]
    assert (alerts["Frequency"], alerts["Subscribers"]) == ("IMMEDIATE", [{"Type": "SNS", "Address": TOPIC}])
    assert json.loads(alerts["ThresholdExpression"])["Dimensions"]["Values"] == ["10"]


def test_the_topic_takes_from_aws_services_only_what_this_account_asked_for() -> None:
    policy = resources("AWS::SNS::TopicPolicy")["AlertsTopicPolicy"]["PolicyDocument"]["Statement"]
    allowed = {s["Principal"]["Service"]: s for s in policy if s["Effect"] == "Allow"}
    assert set(allowed) == {
        "cloudwatch.amazonaws.com",
        "budgets.amazonaws.com",
        "costalerts.amazonaws.com",
        "events.amazonaws.com",
    }
    for statement in allowed.values():
        assert (statement["Action"], statement["Resource"]) == ("sns:Publish", TOPIC)
        if statement is not allowed["events.amazonaws.com"]:
            assert "123456789012" in json.dumps(statement["Condition"])
    assert allowed["budgets.amazonaws.com"]["Condition"] == {
        "StringEquals": {"aws:SourceAccount": "123456789012"},
        "ArnLike": {"aws:SourceArn": "arn:aws:budgets::123456789012:*"},
    }
    assert "Condition" not in allowed["events.amazonaws.com"]  # with one, EventBridge's events would be dropped


# ---------------------------------------------------------------------------------------------------------- outputs
def test_whatever_starts_a_function_goes_before_what_functions_made_is_ended() -> None:
    """CloudFormation deletes a resource before what it depends on, so nothing is made anew during the teardown."""
    starters = {"AWS::Events::Rule", "AWS::Scheduler::Schedule", "AWS::Lambda::EventSourceMapping"}
    for name, resource in transformed()["Resources"].items():
        if resource["Type"] in starters:
            assert "TearDown" in listed(resource.get("DependsOn", [])), name
    pipelines = {name for name, one in transformed()["Resources"].items() if one["Type"] == "AWS::SageMaker::Pipeline"}
    assert set(transformed()["Resources"]["TearDown"]["DependsOn"]) == pipelines, "they can't go while they run"


def test_a_private_network_has_no_way_out_but_to_s3_and_costs_nothing() -> None:
    kinds = {resource["Type"] for resource in transformed()["Resources"].values()}
    assert not kinds & {"AWS::EC2::NatGateway", "AWS::EC2::InternetGateway", "AWS::EC2::Route", "AWS::EC2::EIP"}
    assert resources("AWS::EC2::VPCEndpoint")["S3Gateway"]["VpcEndpointType"] == "Gateway"
    network = [one for one in transformed()["Resources"].values() if one["Type"].startswith("AWS::EC2::")]
    assert {one.get("Condition") for one in network} == {"HasNetwork"}, "nobody has one who did not ask for it"


def test_the_outputs_are_those_that_others_rely_on() -> None:
    outputs = {
        "DataBucketName",
        "ArtifactBucketName",
        "AlertsTopicArn",
        "TrainingRoleArn",
        "DashboardName",
        "BudgetName",
    }
    assert set(raw()["Outputs"]) >= outputs


# -------------------------------------------------------------------------------------------------------- schedules
SCHEDULES = resources("AWS::Scheduler::Schedule")


@pytest.mark.parametrize(
    ("name", "expression", "zone"),
    [
        ("KeepOfficeHoursSchedule", "cron(0/15 * * * ? *)", "UTC"),
        ("DeployModelSchedule", "cron(30 0/4 * * ? *)", "UTC"),
        ("WatchSpendSchedule", "cron(0 * * * ? *)", "UTC"),
        ("ReportCostsSchedule", "cron(30 07 * * ? *)", "UTC"),
        ("ActivateCostTagsSchedule", "cron(0 5 * * ? *)", "UTC"),
        ("GovernResourcesSchedule", "cron(0 6 * * ? *)", "UTC"),
    ],
)
def test_a_schedule_calls_its_function_at_the_time_that_it_tells_it(name: str, expression: str, zone: str) -> None:
    schedule = SCHEDULES[name]
    assert (schedule["ScheduleExpression"], schedule["ScheduleExpressionTimezone"]) == (expression, zone)
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert json.loads(schedule["Target"]["Input"]) == {"scheduled_time": "<aws.scheduler.scheduled-time>"}
    function = resources("AWS::Lambda::Function")[name.replace("Schedule", "Function")]["FunctionName"]
    assert schedule["Target"]["Arn"] == f"arn:aws:lambda:us-east-1:123456789012:function:{function}"
    assert schedule["Name"] == function


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_hours_and_the_report_are_in_the_zone_of_the_parameter(name: str) -> None:
    zone = transformed()["Resources"][name]["Properties"]["ScheduleExpressionTimezone"]
    local = name in ("KeepOfficeHoursSchedule", "ReportCostsSchedule", "GovernResourcesSchedule")
    assert zone == ({"Ref": "TimeZone"} if local else "UTC")


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_a_schedules_role_may_call_its_function_and_keep_what_could_not_be_delivered(name: str) -> None:
    target = SCHEDULES[name]["Target"]
    assert target["RoleArn"] == "arn:aws:iam::123456789012:role/schedulerrole-name"
    allowed = {s["Sid"]: s for s in statements("SchedulerRole")}
    assert target["Arn"] in allowed["CallTheFunctions"]["Resource"]
    assert target["DeadLetterConfig"] == {"Arn": allowed["KeepWhatCouldNotBeDelivered"]["Resource"]}
    assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] >= 60


def test_nothing_but_the_schedules_may_use_their_role_and_it_may_call_nothing_else() -> None:
    trust = resources("AWS::IAM::Role")["SchedulerRole"]["AssumeRolePolicyDocument"]["Statement"]
    assert [statement["Principal"] for statement in trust] == [{"Service": "scheduler.amazonaws.com"}]
    assert trust[0]["Condition"]["StringEquals"]["aws:SourceAccount"] == "123456789012"
    called = next(s["Resource"] for s in statements("SchedulerRole") if s["Action"] == "lambda:InvokeFunction")
    assert sorted(called) == sorted(schedule["Target"]["Arn"] for schedule in SCHEDULES.values())


def test_every_schedule_is_watched_and_for_as_long_as_it_takes() -> None:
    hours = {
        one["Name"].removeprefix("shop-"): 730 / calls_per_month(one["ScheduleExpression"])
        for one in SCHEDULES.values()
    }
    assert {name: float(every) for name, every in hours.items() if name != "watch-spend"} == {
        name: pytest.approx(every / timedelta(hours=1)) for name, every in EVERY.items()
    }
    alarm = resources("AWS::CloudWatch::Alarm")["MissedTicksAlarm"]
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": "shop-watch-spend"}]
    assert alarm["Period"] * alarm["EvaluationPeriods"] == pytest.approx(2 * 3600 * float(hours["watch-spend"]))
    assert alarm["InsufficientDataActions"] == alarm["AlarmActions"]


# ----------------------------------------------------------------------------------------------------- saved queries
QUERIES = resources("AWS::Logs::QueryDefinition")


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_a_saved_query_can_be_run_and_asks_every_function(name: str) -> None:
    query = QUERIES[name]
    text = query["QueryString"]
    for parameter in query.get("Parameters", ()):
        assert f"{{{{{parameter['Name']}}}}}" in text
        text = text.replace(f"{{{{{parameter['Name']}}}}}", "churn")
    Query(text)
    assert query["Name"].startswith("shop/")
    groups = transformed()["Resources"][name]["Properties"]["LogGroupNames"]
    assert sorted(group["Ref"] for group in groups) == sorted(
        function["LoggingConfig"]["LogGroup"]["Ref"]
        for function in (one["Properties"] for one in transformed()["Resources"].values() if one["Type"] == LAMBDA)
    )


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_a_saved_query_asks_for_decisions_that_there_are(name: str) -> None:
    asked = re.findall(r'"([A-Z][a-z]+[A-Z]\w+)"', QUERIES[name]["QueryString"])
    kinds = {kind.__name__ for kind in get_args(Decision)}
    assert set(asked) <= kinds
    assert len(asked) > 5 or name != "MoneyQuery"
