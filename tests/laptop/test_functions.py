"""Lambda on the laptop: real runtime processes against moto behind a real HTTP server."""

from __future__ import annotations

import base64
import io
import json
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from moto.awslambda.models import lambda_backends
from moto.cloudwatch.models import cloudwatch_backends
from moto.logs.models import logs_backends
from moto.moto_api._internal.models import moto_api_backend
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends
from processes import alive

from laptop import functions, lambda_api
from laptop.account import Account
from laptop.errors import ServiceError
from laptop.journal import Journal
from laptop.server import running

ROLE = "arn:aws:iam::123456789012:role/fn"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)


class Roles:
    """Everything is allowed but what a test denies."""

    def __init__(self) -> None:
        self.denied: set[str] = set()

    def authorize(self, call: Any) -> None:
        """The gateway asks this for API calls; these tests are about what Lambda does on a role's behalf."""

    def credentials(self, role_arn: str) -> dict[str, str]:
        return {"aws_access_key_id": "ASIAROLE", "aws_secret_access_key": "s", "aws_session_token": role_arn}

    def assert_allowed(self, role_arn: str, action: str, resource: str) -> None:
        if action in self.denied:
            raise ServiceError("AccessDeniedException", f"{role_arn} may not {action} on {resource}", 403)


class Laptop:
    def __init__(self, account: Account, roles: Roles) -> None:
        self.account = account
        self.roles = roles

    def function(self, source: str, name: str = "fn", **configuration: Any) -> str:
        """Makes a function of a handler's source; returns its ARN."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("app.py", source)
        client = self.account.client("lambda")
        made = client.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role=ROLE,
            Handler="app.handler",
            Code={"ZipFile": buffer.getvalue()},
            **configuration,
        )
        return str(made["FunctionArn"])

    def entries(self, kind: str) -> list[dict[str, Any]]:
        return [entry for entry in self.account.journal.entries() if entry["kind"] == kind]

    def wait_for(self, kind: str, count: int, seconds: float = 60) -> list[dict[str, Any]]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if len(found := self.entries(kind)) >= count:
                return found
            time.sleep(0.02)
        raise AssertionError(f"{count} entries {kind} expected: {self.account.journal.entries()}")

    def receive(self, queue_url: str, seconds: float = 60) -> dict[str, Any]:
        client = self.account.client("sqs")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            answer = client.receive_message(QueueUrl=queue_url, MessageAttributeNames=["All"], WaitTimeSeconds=1)
            if answer.get("Messages"):
                message: dict[str, Any] = answer["Messages"][0]
                return message
        raise AssertionError(f"nothing arrived in {queue_url}")


@pytest.fixture(scope="module")
def server() -> Iterator[Account]:
    moto_api_backend.reset()
    with running() as account:
        account.client("iam").create_role(RoleName="fn", AssumeRolePolicyDocument=TRUST)
        yield account


@pytest.fixture
def laptop(server: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[Laptop]:
    """Fresh Lambda, queues and journal; the rest of the account is shared."""
    for backends in (lambda_backends, logs_backends, sqs_backends, sns_backends, cloudwatch_backends):
        backends["123456789012"]["us-east-1"].reset()
    monkeypatch.setattr(functions, "RETRY_SECONDS", (0.1, 0.1))
    server.identities = roles = Roles()
    server.journal = Journal(server.clock)
    before = len(server.closers)
    lambda_api.install(server)
    yield Laptop(server, roles)
    while len(server.closers) > before:
        server.closers.pop()()


ECHO = """
import os
def handler(event, context):
    print("working for", context.aws_request_id)
    return {"decision": "Echo", "reason": "I was asked.", "event": event, "name": context.function_name,
            "left": context.get_remaining_time_in_millis(), "environment": dict(os.environ), "pid": os.getpid()}
"""


def test_a_function_runs_with_its_configuration_and_its_roles_credentials(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLERS_SECRET", "x")
    laptop.function(ECHO, Environment={"Variables": {"STACK_NAME": "shop"}}, Timeout=7, MemorySize=256)
    answer = laptop.account.client("lambda").invoke(FunctionName="fn", Payload=b'{"n": 1}', LogType="Tail")
    result = json.loads(answer["Payload"].read())
    assert result["event"] == {"n": 1}
    assert 5000 < result["left"] <= 7000
    environment = result["environment"]
    assert environment["STACK_NAME"] == "shop"
    assert environment["AWS_SESSION_TOKEN"] == ROLE
    assert environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert environment["AWS_ENDPOINT_URL"] == laptop.account.url
    assert "CALLERS_SECRET" not in environment
    log = base64.b64decode(answer["LogResult"]).decode()
    assert "START RequestId" in log
    assert "working for" in log
    assert "Init Duration" in log
    entry = laptop.entries("function")[0]
    assert (entry["decision"], entry["reason"], entry["error"]) == ("Echo", "I was asked.", None)


def test_a_warm_function_keeps_its_process_and_a_changed_one_gets_a_new_one(laptop: Laptop) -> None:
    laptop.function(ECHO)

    def pid() -> int:
        return int(json.loads(laptop.account.functions.invoke("fn", b"{}")[0])["pid"])

    first = pid()
    assert pid() == first
    laptop.account.client("lambda").update_function_configuration(
        FunctionName="fn", Environment={"Variables": {"COLOUR": "red"}}
    )
    assert pid() != first


def test_what_a_function_prints_lands_in_its_log_group_with_a_traceback_as_one_event(laptop: Laptop) -> None:
    laptop.function("def handler(event, context):\n    print('before')\n    raise ValueError('no such column')\n")
    payload, error = laptop.account.functions.invoke("fn", b"{}")
    assert error == "Unhandled"
    assert json.loads(payload)["errorMessage"] == "no such column"
    logged = laptop.account.client("logs").filter_log_events(logGroupName="/aws/lambda/fn")["events"]
    messages = [event["message"] for event in logged]
    assert messages[0].startswith("START RequestId: ")
    assert messages[1] == "before\n"
    assert "ValueError: no such column\n" in messages[2]
    assert "Traceback" in messages[2]
    assert messages[3].startswith("END RequestId: ")
    assert messages[4].startswith("REPORT RequestId: ")


def test_a_role_that_may_not_write_logs_leaves_none(laptop: Laptop) -> None:
    laptop.roles.denied.add("logs:PutLogEvents")
    laptop.function(ECHO)
    laptop.account.functions.invoke("fn", b"{}")
    assert laptop.account.client("logs").filter_log_events(logGroupName="/aws/lambda/fn")["events"] == []
    assert "logs:PutLogEvents" in laptop.entries("refused")[0]["reason"]


def test_a_function_that_takes_too_long_is_killed_with_its_children_and_starts_afresh(laptop: Laptop) -> None:
    laptop.function(
        "import subprocess, time\n"
        "def handler(event, context):\n"
        "    if event:\n"
        "        child = subprocess.Popen(['sleep', '60'])\n"
        "        open(event['file'], 'w').write(str(child.pid))\n"
        "        time.sleep(60)\n"
        "    return 'fresh'\n",
        Timeout=3,
    )
    note = laptop.account.home / "child"
    payload, error = laptop.account.functions.invoke("fn", json.dumps({"file": str(note)}).encode())
    assert error == "Unhandled"
    assert json.loads(payload)["errorMessage"].endswith("Task timed out after 3.00 seconds")
    child = int(note.read_text())
    deadline = time.monotonic() + 60
    while alive(child):
        assert time.monotonic() < deadline, "it outlived its parent"
        time.sleep(0.02)
    assert laptop.account.functions.invoke("fn", b"null") == (b'"fresh"', None)


def test_a_function_that_cannot_be_imported_says_so(laptop: Laptop) -> None:
    laptop.function("import a_package_that_is_missing\n")
    payload, error = laptop.account.functions.invoke("fn", b"{}")
    assert error == "Unhandled"
    assert json.loads(payload)["errorType"] == "Runtime.ImportModuleError"
    assert "a_package_that_is_missing" in json.loads(payload)["errorMessage"]


def test_a_function_that_exits_is_reported_with_its_exit_status(laptop: Laptop) -> None:
    laptop.function("import os\ndef handler(event, context):\n    os._exit(3)\n")
    payload, error = laptop.account.functions.invoke("fn", b"{}")
    assert error == "Unhandled"
    assert json.loads(payload)["errorMessage"].endswith("Runtime exited with error: exit status 3")


def test_a_layers_packages_can_be_imported(laptop: Laptop) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("python/greetings/__init__.py", "WORD = 'hello'")
    layer = laptop.account.client("lambda").publish_layer_version(
        LayerName="greetings", Content={"ZipFile": buffer.getvalue()}
    )
    source = "import greetings\ndef handler(event, context):\n    return greetings.WORD\n"
    laptop.function(source, Layers=[layer["LayerVersionArn"]])
    assert laptop.account.functions.invoke("fn", b"{}") == (b'"hello"', None)


def test_two_calls_at_once_run_in_two_processes(laptop: Laptop) -> None:
    laptop.function(
        "import os, time\ndef handler(event, context):\n    time.sleep(0.5)\n    return {'reason': os.getpid()}\n"
    )
    for _ in range(2):
        laptop.account.functions.invoke_async("fn", b"{}")
    entries = laptop.wait_for("function", 2)
    assert entries[0]["reason"] != entries[1]["reason"]


def test_a_failing_event_is_retried_twice_and_then_sent_to_the_failure_destination(laptop: Laptop) -> None:
    sqs = laptop.account.client("sqs")
    url = sqs.create_queue(QueueName="failures")["QueueUrl"]
    arn = laptop.function("def handler(event, context):\n    raise KeyError('dataset')\n")
    laptop.account.client("lambda").put_function_event_invoke_config(
        FunctionName="fn",
        DestinationConfig={"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:123456789012:failures"}},
    )
    laptop.account.client("lambda").invoke(FunctionName="fn", InvocationType="Event", Payload=b'{"a": 1}')
    record = json.loads(laptop.receive(url)["Body"])
    assert len(laptop.entries("function")) == 3
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert record["requestContext"]["functionArn"] == f"{arn}:$LATEST"
    assert record["requestPayload"] == {"a": 1}
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    assert record["responsePayload"]["errorType"] == "KeyError"


def test_retries_follow_the_functions_own_configuration(laptop: Laptop) -> None:
    url = laptop.account.client("sqs").create_queue(QueueName="letters")["QueueUrl"]
    laptop.function(
        "def handler(event, context):\n    raise KeyError('dataset')\n",
        DeadLetterConfig={"TargetArn": "arn:aws:sqs:us-east-1:123456789012:letters"},
    )
    laptop.account.client("lambda").put_function_event_invoke_config(FunctionName="fn", MaximumRetryAttempts=0)
    laptop.account.functions.invoke_async("fn", b'{"a": 1}')
    letter = laptop.receive(url)
    assert len(laptop.entries("function")) == 1
    assert json.loads(letter["Body"]) == {"a": 1}
    assert letter["MessageAttributes"]["ErrorMessage"]["StringValue"] == "'dataset'"


BATCH = """
import json
def handler(event, context):
    record = event["Records"][0]
    assert record["eventSource"] == "aws:sqs" and record["attributes"]["ApproximateReceiveCount"].isdigit()
    bad = [r["messageId"] for r in event["Records"] if "bad" in r["body"]]
    print("batch of", len(event["Records"]))
    return {"batchItemFailures": [{"itemIdentifier": i} for i in bad], "reason": f"{len(bad)} bad"}
"""


def queue_with_dead_letters(laptop: Laptop) -> tuple[str, str]:
    sqs = laptop.account.client("sqs")
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    policy = {"deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:dead", "maxReceiveCount": 2}
    attributes = {"VisibilityTimeout": "1", "RedrivePolicy": json.dumps(policy)}
    return sqs.create_queue(QueueName="drops", Attributes=attributes)["QueueUrl"], dead


def test_only_the_failed_messages_of_a_batch_come_back_and_end_as_dead_letters(laptop: Laptop) -> None:
    url, dead = queue_with_dead_letters(laptop)
    laptop.function(BATCH)
    laptop.account.client("lambda").create_event_source_mapping(
        FunctionName="fn",
        EventSourceArn="arn:aws:sqs:us-east-1:123456789012:drops",
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    sqs = laptop.account.client("sqs")
    sqs.send_message_batch(
        QueueUrl=url, Entries=[{"Id": word, "MessageBody": f"a {word} one"} for word in ("good", "bad")]
    )
    assert laptop.receive(dead)["Body"] == "a bad one"
    reasons = [entry["reason"] for entry in laptop.entries("function")]
    assert reasons == ["1 bad"] * len(reasons)
    assert 2 <= len(reasons) <= 3
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert counts["ApproximateNumberOfMessages"] == "0"
    assert counts["ApproximateNumberOfMessagesNotVisible"] == "0"


def test_a_queue_that_the_role_may_not_read_cannot_be_a_source(laptop: Laptop) -> None:
    queue_with_dead_letters(laptop)
    laptop.function(BATCH)
    laptop.roles.denied.add("sqs:DeleteMessage")
    client = laptop.account.client("lambda")
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="DeleteMessage on SQS"):
        client.create_event_source_mapping(FunctionName="fn", EventSourceArn="arn:aws:sqs:us-east-1:123456789012:drops")
    assert client.list_event_source_mappings()["EventSourceMappings"] == []


def test_a_topic_invokes_a_function_only_with_its_permission(laptop: Laptop) -> None:
    sns = laptop.account.client("sns")
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    arn = laptop.function(ECHO)
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=arn)
    sns.publish(TopicArn=topic, Subject="Budget", Message="too much")
    refused = laptop.wait_for("delivery", 1)[0]
    assert "not authorized to perform: lambda:InvokeFunction" in refused["error"]
    laptop.account.client("lambda").add_permission(
        FunctionName="fn",
        StatementId="sns",
        Action="lambda:InvokeFunction",
        Principal="sns.amazonaws.com",
        SourceArn=topic,
    )
    sns.publish(TopicArn=topic, Subject="Budget", Message="too much")
    laptop.wait_for("function", 1)


def test_a_notice_that_cannot_be_delivered_goes_to_the_subscriptions_dead_letter_queue(laptop: Laptop) -> None:
    url = laptop.account.client("sqs").create_queue(QueueName="letters")["QueueUrl"]
    sns = laptop.account.client("sns")
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    redrive = json.dumps({"deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:letters"})
    sns.subscribe(
        TopicArn=topic, Protocol="lambda", Endpoint=laptop.function(ECHO), Attributes={"RedrivePolicy": redrive}
    )
    sns.publish(TopicArn=topic, Subject="Budget", Message="too much")
    assert json.loads(laptop.receive(url)["Body"])["Message"] == "too much"


def test_the_decisions_of_a_batch_are_told_together(laptop: Laptop) -> None:
    laptop.function(
        "def handler(event, context):\n"
        "    return {'decisions': [{'decision': 'Skip', 'reason': 'One.'}, {'decision': 'Train', 'reason': 'Two.'}]}\n"
    )
    laptop.account.functions.invoke("fn", b"{}")
    entry = laptop.entries("function")[0]
    assert (entry["decision"], entry["reason"]) == ("Skip; Train", "One.; Two.")
    assert entry["decisions"] == [{"decision": "Skip", "reason": "One."}, {"decision": "Train", "reason": "Two."}]


def test_mappings_are_listed_by_any_spelling_of_their_function(laptop: Laptop) -> None:
    queue_with_dead_letters(laptop)
    arn = laptop.function(BATCH)
    laptop.function(BATCH, name="other")
    client = laptop.account.client("lambda")
    client.create_event_source_mapping(FunctionName=arn, EventSourceArn="arn:aws:sqs:us-east-1:123456789012:drops")
    assert len(client.list_event_source_mappings(FunctionName="fn")["EventSourceMappings"]) == 1
    assert client.list_event_source_mappings(FunctionName="other")["EventSourceMappings"] == []


def test_invocations_errors_and_printed_metrics_are_counted_in_cloudwatch(laptop: Laptop) -> None:
    laptop.function(
        "import json\n"
        "def handler(event, context):\n"
        "    print(json.dumps({'_aws': {'Timestamp': 1, 'CloudWatchMetrics': [{'Namespace': 'Shop', 'Dimensions':"
        " [['service']], 'Metrics': [{'Name': 'Drops', 'Unit': 'Count'}]}]}, 'service': 's', 'Drops': [2]}))\n"
        "    raise ValueError\n"
    )
    laptop.account.functions.invoke("fn", b"{}")
    cloudwatch = laptop.account.client("cloudwatch")

    def total(namespace: str, metric: str, **dimensions: str) -> float:
        now = time.time()
        points = cloudwatch.get_metric_statistics(
            Namespace=namespace,
            MetricName=metric,
            Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
            StartTime=now - 300,
            EndTime=now + 60,
            Period=600,
            Statistics=["Sum"],
        )["Datapoints"]
        return float(sum(point["Sum"] for point in points))

    assert total("AWS/Lambda", "Invocations", FunctionName="fn") == 1
    assert total("AWS/Lambda", "Errors", FunctionName="fn") == 1
    assert total("Shop", "Drops", service="s") == 2


def test_closing_the_laptop_leaves_no_process_behind(laptop: Laptop) -> None:
    laptop.function(ECHO)
    pid = json.loads(laptop.account.functions.invoke("fn", b"{}")[0])["pid"]
    for closer in reversed(laptop.account.closers[-2:]):
        closer()
    assert not psutil.pid_exists(pid)


def test_an_unknown_function_is_refused(laptop: Laptop) -> None:
    with pytest.raises(ServiceError, match="Function not found: arn:aws:lambda:us-east-1:123456789012:function:nobody"):
        laptop.account.functions.invoke("nobody", b"{}")
