"""Pipelines on the laptop: executions as the SageMaker API shows them, their steps being jobs made by the test."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from laptop.account import Account
from laptop.server import running

IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6.0-cpu-py312-ubuntu22.04-sagemaker"
TRUST = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
ROLE = "arn:aws:iam::123456789012:role/pipeline"
RIGHTS = [
    "sagemaker:CreateProcessingJob",
    "sagemaker:DescribeProcessingJob",
    "sagemaker:StopProcessingJob",
    "sagemaker:CreateModelPackage",
    "sagemaker:DescribeModelPackage",
    "iam:PassRole",
    "s3:GetObject",
]


class Jobs:
    """Processing jobs without a machine: each ends as the test says, by default at once and well."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.failures: list[str] = []  # FailureReason of the next jobs
        self.held = threading.Event()  # while it is not set, jobs go on
        self.held.set()
        self._ends: dict[str, dict[str, Any]] = {}

    def create(self, parameters: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(parameters)
        name = parameters["ProcessingJobName"]
        reason = self.failures.pop(0) if self.failures else None
        self._ends[name] = {"ProcessingJobStatus": "Failed", "FailureReason": reason} if reason else {}
        return {"ProcessingJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:processing-job/{name}"}

    def describe(self, parameters: dict[str, Any]) -> dict[str, Any]:
        name = parameters["ProcessingJobName"]
        request = next(one for one in self.requests if one["ProcessingJobName"] == name)
        status = {"ProcessingJobStatus": "Completed" if self.held.is_set() else "InProgress"} | self._ends[name]
        created = {"CreationTime": 0.0, "ProcessingJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:p/{name}"}
        return {**{key: value for key, value in request.items() if key != "Tags"}, **created, **status}

    def stop(self, parameters: dict[str, Any]) -> dict[str, Any]:
        self._ends[parameters["ProcessingJobName"]] = {"ProcessingJobStatus": "Stopped"}
        return {}


class Sandbox:
    def __init__(self, account: Account) -> None:
        self.account, self.jobs = account, Jobs()
        self.client, self.s3, self.iam = account.client("sagemaker"), account.client("s3"), account.client("iam")
        account.operations["sagemaker"].update(
            CreateProcessingJob=self.jobs.create,
            DescribeProcessingJob=self.jobs.describe,
            StopProcessingJob=self.jobs.stop,
        )
        self.iam.create_role(
            RoleName="pipeline", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})
        )
        self.allow(RIGHTS)
        self.s3.create_bucket(Bucket="sandbox")
        self.put("model.tar.gz", b"weights")
        self.client.create_model_package_group(ModelPackageGroupName="iris")

    def allow(self, rights: list[str]) -> None:
        statement = {"Effect": "Allow", "Action": rights, "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.iam.put_role_policy(RoleName="pipeline", PolicyName="rights", PolicyDocument=document)

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket="sandbox", Key=key, Body=body)

    def pipeline(self, name: str, *steps: dict[str, Any], parameters: tuple[dict[str, Any], ...] = ()) -> str:
        definition = {"Version": "2020-12-01", "Parameters": list(parameters), "Steps": list(steps)}
        self.client.create_pipeline(
            PipelineName=name,
            RoleArn=ROLE,
            PipelineDefinition=json.dumps(definition),
            ClientRequestToken=name.ljust(32, "-"),
        )
        return name

    def start(self, name: str, **parameters: str) -> str:
        given = [{"Name": key, "Value": value} for key, value in parameters.items()]
        answer = self.client.start_pipeline_execution(PipelineName=name, PipelineParameters=given)
        return str(answer["PipelineExecutionArn"])

    def finish(self, execution: str) -> dict[str, Any]:
        return self.until(lambda: self.describe(execution), lambda found: found["PipelineExecutionStatus"] in ENDED)

    def describe(self, execution: str) -> dict[str, Any]:
        return dict(self.client.describe_pipeline_execution(PipelineExecutionArn=execution))

    def steps(self, execution: str) -> dict[str, dict[str, Any]]:
        """By name, in the order of their starts."""
        answer = self.client.list_pipeline_execution_steps(PipelineExecutionArn=execution, SortOrder="Ascending")
        return {step["StepName"]: step for step in answer["PipelineExecutionSteps"]}

    def run(self, name: str, **parameters: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        execution = self.start(name, **parameters)
        return self.finish(execution), self.steps(execution)

    def until(self, look: Callable[[], Any], good: Callable[[Any], bool], seconds: float = 60) -> Any:
        deadline = time.monotonic() + seconds
        while not good(found := look()):
            assert time.monotonic() < deadline, f"it did not happen in time: {found}"
            time.sleep(0.02)
        return found


ENDED = {"Succeeded", "Failed", "Stopped"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running() as account:
        yield Sandbox(account)


def job(name: str, *, output: Any = "s3://sandbox/out", **more: Any) -> dict[str, Any]:
    """A processing step with one output; the container's arguments come last in `more`."""
    arguments = more.pop("arguments", ["--go"])
    return {
        "Name": name,
        "Type": "Processing",
        "Arguments": {
            "RoleArn": ROLE,
            "AppSpecification": {"ImageUri": IMAGE, "ContainerArguments": arguments},
            "ProcessingResources": {
                "ClusterConfig": {"InstanceType": "ml.t3.medium", "InstanceCount": 1, "VolumeSizeInGB": 10}
            },
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": "result",
                        "S3Output": {
                            "S3Uri": output,
                            "LocalPath": "/opt/ml/processing/out",
                            "S3UploadMode": "EndOfJob",
                        },
                    }
                ]
            },
        },
        **more,
    }


def judged(name: str, *, good: dict[str, Any], bad: dict[str, Any]) -> dict[str, Any]:
    score = {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.Evaluate.PropertyFiles.Report"}, "Path": "condition.score"}}
    least = {"Get": "Parameters.Least"}
    return {
        "Name": name,
        "Type": "Condition",
        "Arguments": {
            "Conditions": [{"Type": "GreaterThan", "LeftValue": score, "RightValue": least}],
            "IfSteps": [good],
            "ElseSteps": [bad],
        },
    }


REPORT = [{"PropertyFileName": "Report", "OutputName": "result", "FilePath": "evaluation.json"}]
LEAST = ({"Name": "Least", "Type": "Float", "DefaultValue": 0.5},)
FAIL = {
    "Name": "Refuse",
    "Type": "Fail",
    "Arguments": {"ErrorMessage": {"Std:Join": {"On": " ", "Values": ["not above", {"Get": "Parameters.Least"}]}}},
}
REGISTER = {
    "Name": "Register",
    "Type": "RegisterModel",
    "Arguments": {
        "ModelPackageGroupName": "iris",
        "ModelApprovalStatus": "PendingManualApproval",
        "InferenceSpecification": {
            "Containers": [{"Image": IMAGE, "ModelDataUrl": "s3://sandbox/model.tar.gz"}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    },
}


def test_steps_run_in_their_order_and_a_model_that_is_good_enough_is_registered(sandbox: Sandbox) -> None:
    sandbox.put("out/evaluation.json", json.dumps({"condition": {"score": 0.9}}).encode())
    prepared = {"Get": "Steps.Prepare.ProcessingOutputConfig.Outputs['result'].S3Output.S3Uri"}
    name = sandbox.pipeline(
        "whole",
        job("Evaluate", arguments=["--prepared", prepared], PropertyFiles=REPORT),
        job("Prepare"),
        judged("GoodEnough", good=REGISTER, bad=FAIL),
        parameters=LEAST,
    )
    started = time.time()
    execution, steps = sandbox.run(name)
    assert execution["PipelineExecutionStatus"] == "Succeeded"
    assert {one: step["StepStatus"] for one, step in steps.items()} == dict.fromkeys(
        ["Prepare", "Evaluate", "GoodEnough", "Register"], "Succeeded"
    )
    assert sandbox.jobs.requests[-1]["AppSpecification"]["ContainerArguments"] == ["--prepared", "s3://sandbox/out"]
    assert steps["GoodEnough"]["Metadata"] == {"Condition": {"Outcome": "True"}}
    identity = execution["PipelineExecutionArn"].rsplit("/", 1)[-1]
    assert f"processing-job/pipelines-{identity}-Prepare-" in steps["Prepare"]["Metadata"]["ProcessingJob"]["Arn"]
    package = sandbox.client.describe_model_package(
        ModelPackageName=steps["Register"]["Metadata"]["RegisterModel"]["Arn"]
    )
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert steps["Prepare"]["StartTime"].timestamp() >= int(started)


def test_a_model_that_is_not_good_enough_fails_the_execution_with_the_reason(sandbox: Sandbox) -> None:
    sandbox.put("poor/evaluation.json", json.dumps({"condition": {"score": 0.5}}).encode())
    evaluate = job("Evaluate", output="s3://sandbox/poor/", PropertyFiles=REPORT)
    name = sandbox.pipeline("poor", evaluate, judged("GoodEnough", good=REGISTER, bad=FAIL), parameters=LEAST)
    execution, steps = sandbox.run(name)
    assert (execution["PipelineExecutionStatus"], execution["FailureReason"]) == (
        "Failed",
        "Step failure: One or multiple steps failed.",
    )
    assert list(steps) == ["Evaluate", "GoodEnough", "Refuse"]
    assert steps["Refuse"]["FailureReason"] == "not above 0.5"
    assert steps["Refuse"]["Metadata"] == {"Fail": {"ErrorMessage": "not above 0.5"}}
    again, steps = sandbox.run(name, Least="0.4")
    assert (again["PipelineExecutionStatus"], list(steps)[-1]) == ("Succeeded", "Register")


def test_branches_run_side_by_side_and_no_step_starts_after_a_failure(sandbox: Sandbox) -> None:
    name = sandbox.pipeline("branches", job("Left"), job("Right"), job("After", DependsOn=["Left", "Right"]))
    sandbox.jobs.held.clear()
    execution = sandbox.start(name)
    both = sandbox.until(
        lambda: sandbox.steps(execution),
        lambda found: [step["StepStatus"] for step in found.values()] == 2 * ["Executing"],
    )
    assert set(both) == {"Left", "Right"}
    sandbox.jobs.held.set()
    assert sandbox.finish(execution)["PipelineExecutionStatus"] == "Succeeded"
    sandbox.jobs.failures = ["AlgorithmError: no such column, exit code: 1"]
    execution = sandbox.start(name)
    assert sandbox.finish(execution)["PipelineExecutionStatus"] == "Failed"
    steps = sandbox.steps(execution)
    assert "After" not in steps
    assert [step["FailureReason"] for step in steps.values() if "FailureReason" in step] == [
        "AlgorithmError: no such column, exit code: 1"
    ]
    # What succeeded is not done again.
    done = next(one for one, step in steps.items() if step["StepStatus"] == "Succeeded")
    sandbox.client.retry_pipeline_execution(PipelineExecutionArn=execution)
    assert sandbox.finish(execution)["PipelineExecutionStatus"] == "Succeeded"
    assert sandbox.steps(execution)[done]["StartTime"] == steps[done]["StartTime"]


def test_a_cached_step_is_taken_from_an_earlier_execution_only_while_its_arguments_are_the_same(
    sandbox: Sandbox,
) -> None:
    cached = job("Prepare", arguments=["--seed", {"Get": "Parameters.Seed"}])
    cached["CacheConfig"] = {"Enabled": True, "ExpireAfter": "PT1H"}
    name = sandbox.pipeline("cached", cached, parameters=({"Name": "Seed", "Type": "String", "DefaultValue": "1"},))
    first, before = sandbox.run(name)
    count = len(sandbox.jobs.requests)
    _, steps = sandbox.run(name)
    assert len(sandbox.jobs.requests) == count
    assert steps["Prepare"]["CacheHitResult"] == {"SourcePipelineExecutionArn": first["PipelineExecutionArn"]}
    assert steps["Prepare"]["Metadata"] == before["Prepare"]["Metadata"]
    _, steps = sandbox.run(name, Seed="2")
    assert "CacheHitResult" not in steps["Prepare"]
    assert len(sandbox.jobs.requests) == count + 1


def test_a_step_is_tried_again_only_for_what_its_policy_names(sandbox: Sandbox) -> None:
    policy = {"ExceptionType": ["SageMaker.JOB_INTERNAL_ERROR"], "IntervalSeconds": 1, "MaxAttempts": 1}
    name = sandbox.pipeline("retried", job("Prepare", RetryPolicies=[policy]))
    sandbox.jobs.failures = ["InternalServerError: We encountered an internal error. Please try again."]
    execution, steps = sandbox.run(name)
    assert (execution["PipelineExecutionStatus"], steps["Prepare"]["AttemptCount"]) == ("Succeeded", 2)
    assert steps["Prepare"]["Metadata"]["ProcessingJob"]["Arn"].endswith("-1")
    sandbox.jobs.failures = ["AlgorithmError: wrong, exit code: 1"]
    execution, steps = sandbox.run(name)
    assert (execution["PipelineExecutionStatus"], steps["Prepare"]["AttemptCount"]) == ("Failed", 1)


def test_stopping_an_execution_stops_its_jobs(sandbox: Sandbox) -> None:
    name = sandbox.pipeline("stopped", job("Prepare"), job("After", DependsOn=["Prepare"]))
    sandbox.jobs.held.clear()
    try:
        execution = sandbox.start(name)
        sandbox.until(lambda: sandbox.steps(execution), lambda found: "Metadata" in found.get("Prepare", {}))
        sandbox.client.stop_pipeline_execution(PipelineExecutionArn=execution)
        assert sandbox.finish(execution)["PipelineExecutionStatus"] == "Stopped"
        assert {one: step["StepStatus"] for one, step in sandbox.steps(execution).items()} == {"Prepare": "Stopped"}
    finally:
        sandbox.jobs.held.set()


def test_a_step_may_do_no_more_than_the_pipelines_role(sandbox: Sandbox) -> None:
    name = sandbox.pipeline("forbidden", job("Prepare"))
    sandbox.allow([right for right in RIGHTS if right != "sagemaker:CreateProcessingJob"])
    try:
        _, steps = sandbox.run(name)
    finally:
        sandbox.allow(RIGHTS)
    assert "is not authorized to perform: sagemaker:CreateProcessingJob" in steps["Prepare"]["FailureReason"]


def test_a_parameter_that_does_not_exist_starts_nothing(sandbox: Sandbox) -> None:
    name = sandbox.pipeline("strict", job("Prepare"), parameters=LEAST)
    with pytest.raises(ClientError, match="The pipeline has no parameter Lest; it has Least"):
        sandbox.start(name, Lest="0.4")
    assert sandbox.client.list_pipeline_executions(PipelineName=name)["PipelineExecutionSummaries"] == []


def test_the_same_token_starts_one_execution_and_can_not_start_another(sandbox: Sandbox) -> None:
    name = sandbox.pipeline("once", job("Prepare"), parameters=LEAST)
    request = {"PipelineName": name, "ClientRequestToken": "t" * 32}
    arns = {sandbox.client.start_pipeline_execution(**request)["PipelineExecutionArn"] for _ in range(3)}
    assert len(arns) == 1
    with pytest.raises(ClientError, match="ConflictException"):
        sandbox.client.start_pipeline_execution(**request, PipelineParameters=[{"Name": "Least", "Value": "0.1"}])
    assert len(sandbox.client.list_pipeline_executions(PipelineName=name)["PipelineExecutionSummaries"]) == 1
    sandbox.finish(arns.pop())


def test_every_change_of_a_status_is_an_event_in_the_spelling_of_aws(sandbox: Sandbox) -> None:
    name = sandbox.pipeline("told", job("Prepare"))
    seen: list[tuple[str, dict[str, Any], tuple[str, ...]]] = []
    bus = sandbox.account.events

    class Listening:
        def put(self, source: str, kind: str, detail: dict[str, Any], resources: tuple[str, ...] = ()) -> None:
            seen.append((kind, detail, resources))
            bus.put(source, kind, detail, resources)

    sandbox.account.events = Listening()
    try:
        execution, _ = sandbox.run(name)
    finally:
        sandbox.account.events = bus
    arns = (execution["PipelineArn"], execution["PipelineExecutionArn"])
    whole = [detail for kind, detail, _ in seen if kind.endswith("Execution Status Change")]
    assert [(one.get("previousPipelineExecutionStatus"), one["currentPipelineExecutionStatus"]) for one in whole] == [
        (None, "Executing"),
        ("Executing", "Succeeded"),
    ]
    assert whole[-1].keys() == {
        "currentPipelineExecutionStatus",
        "previousPipelineExecutionStatus",
        "executionStartTime",
        "executionEndTime",
        "pipelineArn",
        "pipelineExecutionArn",
        "pipelineExecutionDisplayName",
    }
    steps = [(detail, resources) for kind, detail, resources in seen if kind.endswith("Step Status Change")]
    assert [one["currentStepStatus"] for one, _ in steps] == ["Starting", "Executing", "Succeeded"]
    last, resources = steps[-1]
    assert (last["stepName"], last["stepType"], resources) == ("Prepare", "Processing", arns)
    assert last["metadata"]["processingJob"]["arn"].startswith("arn:aws:sagemaker:")


def test_a_pipeline_is_changed_listed_and_deleted_and_an_execution_keeps_its_own_definition(sandbox: Sandbox) -> None:
    name = sandbox.pipeline("changed", job("Prepare"))
    execution = sandbox.start(name)
    sandbox.finish(execution)
    newer = json.dumps({"Version": "2020-12-01", "Steps": [job("Other")]})
    sandbox.put("definition.json", newer.encode())
    location = {"Bucket": "sandbox", "ObjectKey": "definition.json"}
    sandbox.client.update_pipeline(PipelineName=name, PipelineDefinitionS3Location=location)
    assert sandbox.client.describe_pipeline(PipelineName=name)["PipelineDefinition"] == newer
    kept = sandbox.client.describe_pipeline_definition_for_execution(PipelineExecutionArn=execution)
    assert json.loads(kept["PipelineDefinition"])["Steps"][0]["Name"] == "Prepare"
    listed = sandbox.client.list_pipelines(PipelineNamePrefix="chan")["PipelineSummaries"]
    assert [one["PipelineName"] for one in listed] == ["changed"]
    with pytest.raises(ClientError, match="Unable to parse pipeline definition"):
        sandbox.client.update_pipeline(PipelineName=name, PipelineDefinition="{}")
    sandbox.client.delete_pipeline(PipelineName=name)
    with pytest.raises(ClientError, match="ResourceNotFound"):
        sandbox.client.describe_pipeline(PipelineName=name)


def test_cloudformation_makes_changes_and_deletes_a_pipeline(sandbox: Sandbox) -> None:
    stacks = sandbox.account.client("cloudformation")

    def template(description: str, definition: dict[str, Any]) -> str:
        properties = {
            "PipelineName": "from-a-template",
            "PipelineDescription": description,
            "PipelineDefinition": definition,
            "RoleArn": ROLE,
            "Tags": [{"Key": "Project", "Value": "sandbox"}],
        }
        return json.dumps({"Resources": {"Pipeline": {"Type": "AWS::SageMaker::Pipeline", "Properties": properties}}})

    def settled(status: str) -> None:
        sandbox.until(lambda: stacks.describe_stacks(StackName="piped")["Stacks"][0]["StackStatus"], status.__eq__)

    first = json.dumps({"Version": "2020-12-01", "Steps": [job("Prepare")]})
    stacks.create_stack(StackName="piped", TemplateBody=template("first", {"PipelineDefinitionBody": first}))
    settled("CREATE_COMPLETE")
    made = sandbox.client.describe_pipeline(PipelineName="from-a-template")
    assert (made["PipelineDefinition"], made["PipelineDescription"]) == (first, "first")
    assert sandbox.client.list_tags(ResourceArn=made["PipelineArn"])["Tags"] == [{"Key": "Project", "Value": "sandbox"}]
    second = json.dumps({"Version": "2020-12-01", "Steps": [job("Other")]})
    sandbox.put("second.json", second.encode())
    location = {"PipelineDefinitionS3Location": {"Bucket": "sandbox", "Key": "second.json"}}
    stacks.update_stack(StackName="piped", TemplateBody=template("second", location))
    settled("UPDATE_COMPLETE")
    changed = sandbox.client.describe_pipeline(PipelineName="from-a-template")
    assert (changed["PipelineDefinition"], changed["PipelineDescription"]) == (second, "second")
    stacks.delete_stack(StackName="piped")
    sandbox.until(lambda: sandbox.client.list_pipelines(PipelineNamePrefix="from-a")["PipelineSummaries"], [].__eq__)
