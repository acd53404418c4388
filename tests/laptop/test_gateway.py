"""The one address of the laptop speaks the AWS API, and refuses what AWS refuses."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from laptop.account import Account
from laptop.errors import ServiceError
from laptop.server import Server, running


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with running() as running_account:
        yield running_account


@pytest.fixture(scope="module")
def bucket(account: Account) -> str:
    account.client("s3").create_bucket(Bucket="files")
    return "files"


def http(account: Account, method: str, path: str, payload: Any = None) -> tuple[int, Any]:
    body = None if payload is None else payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    request = urllib.request.Request(account.url + path, data=body, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def refusal(call: Any, **params: Any) -> Any:
    with pytest.raises(ClientError) as caught:
        call(**params)
    return caught.value.response


@pytest.mark.parametrize(
    "key", ["a b.csv", "a+b.csv", "50%25off.csv", "Zoë/日本.csv", "//two", "folder/", "a?b&c=d.csv", "'quote'.csv"]
)
def test_an_object_comes_back_under_the_very_key_it_was_put(account: Account, bucket: str, key: str) -> None:
    s3 = account.client("s3")
    put = s3.put_object(Bucket=bucket, Key=key, Body=b"content")
    got = s3.get_object(Bucket=bucket, Key=key)
    assert got["Body"].read() == b"content"
    assert got["ETag"] == put["ETag"] == '"9a0364b9e99bb480dd25e1f0284c8555"'
    assert key in [stored["Key"] for stored in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    s3.delete_object(Bucket=bucket, Key=key)


def test_a_large_file_goes_up_in_parts_and_comes_down_the_same(account: Account, bucket: str, tmp_path: Any) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(os.urandom(20_000_000))
    s3 = account.client("s3")
    s3.upload_file(str(source), bucket, "large file")
    s3.download_file(bucket, "large file", str(copy))
    assert hashlib.sha256(copy.read_bytes()).digest() == hashlib.sha256(source.read_bytes()).digest()
    assert s3.head_object(Bucket=bucket, Key="large file")["ETag"].endswith('-3"')


def test_of_many_conditional_writes_of_one_key_exactly_one_is_first(account: Account, bucket: str) -> None:
    s3 = account.client("s3")

    def write(number: int) -> str:
        try:
            s3.put_object(Bucket=bucket, Key="verdict", Body=str(number).encode(), IfNoneMatch="*")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "written"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(write, range(24))) == ["PreconditionFailed"] * 23 + ["written"]


def test_queues_topics_parameters_and_metrics_work_with_plain_clients(account: Account) -> None:
    sqs, sns, ssm, cloudwatch = (account.client(name) for name in ("sqs", "sns", "ssm", "cloudwatch"))
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    topic = sns.create_topic(Name="t")["TopicArn"]
    sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint="arn:aws:sqs:us-east-1:123456789012:q",
        Attributes={"RawMessageDelivery": "true"},
    )
    sns.publish(TopicArn=topic, Message="hello")
    assert [message["Body"] for message in sqs.receive_message(QueueUrl=url)["Messages"]] == ["hello"]
    ssm.put_parameter(Name="/stack/secret", Value="s", Type="SecureString")
    assert ssm.get_parameter(Name="/stack/secret", WithDecryption=True)["Parameter"]["Value"] == "s"
    cloudwatch.put_metric_data(Namespace="Mine", MetricData=[{"MetricName": "m", "Value": 1.0}])
    assert cloudwatch.list_metrics(Namespace="Mine")["Metrics"][0]["MetricName"] == "m"


def test_a_request_that_breaks_the_service_model_is_refused_in_awss_words(account: Account) -> None:
    sagemaker = boto3.client(
        "sagemaker",
        endpoint_url=account.url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=boto3.session.Config(parameter_validation=False),
    )
    answer = refusal(sagemaker.describe_training_job, TrainingJobName="not_allowed")
    assert answer["Error"] == {
        "Code": "ValidationException",
        "Message": "1 validation error detected: Value 'not_allowed' at 'trainingJobName' failed to satisfy "
        "constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
    }
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert answer["ResponseMetadata"]["RequestId"]


def test_an_own_operation_gets_and_gives_members_as_boto3_spells_them(account: Account) -> None:
    seen: list[dict[str, Any]] = []

    def describe(params: dict[str, Any]) -> dict[str, Any]:
        seen.append(params)
        return {"MonitoringScheduleName": "m", "CreationTime": datetime(2026, 11, 23, 6, 30, tzinfo=UTC)}

    account.operations.setdefault("sagemaker", {})["DescribeMonitoringSchedule"] = describe
    answer = account.client("sagemaker").describe_monitoring_schedule(MonitoringScheduleName="m")
    assert seen == [{"MonitoringScheduleName": "m"}]
    assert answer["CreationTime"] == datetime(2026, 11, 23, 6, 30, tzinfo=UTC)


def test_an_own_operation_refuses_with_code_message_and_status(account: Account) -> None:
    def refuse(params: Mapping[str, Any]) -> dict[str, Any]:
        raise ServiceError("ResourceInUse", f"{params['PipelineName']} exists.")

    account.operations.setdefault("sagemaker", {})["DescribePipeline"] = refuse
    answer = refusal(account.client("sagemaker").describe_pipeline, PipelineName="p")
    assert answer["Error"] == {"Code": "ResourceInUse", "Message": "p exists."}


@pytest.mark.parametrize(
    ("operation", "call", "failure"),
    [
        ("s3 ListBuckets", lambda account: account.client("s3").list_buckets(), ("SlowDown", 503)),
        ("sns ListTopics", lambda account: account.client("sns").list_topics(), ("InternalError", 500)),
        ("sqs ListQueues", lambda account: account.client("sqs").list_queues(), ("OverLimit", 400)),
        (
            "sagemaker-runtime InvokeEndpoint",
            lambda account: account.client("sagemaker-runtime").invoke_endpoint(EndpointName="e", Body=b""),
            ("ModelError", 400),
        ),
    ],
)
def test_a_failure_on_order_meets_as_many_calls_as_told(
    account: Account, operation: str, call: Any, failure: tuple[str, int]
) -> None:
    service, name = operation.split()
    order = {"service": service, "operation": name, "error_code": failure[0], "times": 9}
    assert http(account, "POST", "/_laptop/fault", order)[0] == 200
    answer = refusal(call, account=account)
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == failure
    assert http(account, "POST", "/_laptop/fault", {**order, "times": 0})[0] == 200
    if service != "sagemaker-runtime":
        call(account)


def test_an_ill_formed_order_of_a_failure_is_refused(account: Account) -> None:
    assert http(account, "POST", "/_laptop/fault", {"service": "s3"})[0] == 400
    assert http(account, "POST", "/_laptop/fault", b"{")[0] == 400
    assert http(account, "GET", "/_laptop/nothing")[0] == 404


def test_an_operation_that_nobody_implements_says_so(account: Account) -> None:
    answer = refusal(account.client("ce").list_cost_category_definitions)
    assert answer["Error"]["Code"] == "NotImplemented"


def test_invocations_and_the_runtime_api_run_on_the_event_loop_with_headers_and_raw_bodies(account: Account) -> None:
    loop_threads: set[str] = set()

    async def invoke(endpoint: str, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        loop_threads.add(threading.current_thread().name)
        answer = {"endpoint": endpoint, "type": headers["content-type"], "body": body.decode()}
        return 200, {"content-type": "application/json"}, json.dumps(answer).encode()

    before, account.invoke = account.invoke, invoke
    try:
        runtime = account.client("sagemaker-runtime")
        answer = runtime.invoke_endpoint(EndpointName="iris", ContentType="text/csv", Body=b"1,2\n")
    finally:
        account.invoke = before
    assert json.loads(answer["Body"].read()) == {"endpoint": "iris", "type": "text/csv", "body": "1,2\n"}
    assert loop_threads == {"server"}


def test_the_console_is_one_page_without_anything_from_outside(account: Account) -> None:
    with urllib.request.urlopen(account.url + "/") as answer:
        page = answer.read().decode()
    assert answer.headers["content-type"].startswith("text/html")
    assert "/_laptop/events" in page
    assert "http://" not in page
    assert "https://" not in page


def test_the_event_log_is_read_from_an_entry_on(account: Account) -> None:
    account.journal.record("stack", status="one")
    last = http(account, "GET", "/_laptop/events")[1][-1]["n"]
    account.journal.record("stack", status="two")
    entries = http(account, "GET", f"/_laptop/events?after={last}")[1]
    assert [(entry["kind"], entry["status"]) for entry in entries if entry["kind"] == "stack"] == [("stack", "two")]


def test_health_says_starting_until_the_stack_is_there(account: Account) -> None:
    status, health = http(account, "GET", "/_laptop/health")
    assert (status, health["status"]) == (200, "starting")
    assert set(health) == {"status", "stack", "outputs"}


def test_the_clock_can_be_read(account: Account) -> None:
    told = datetime.fromisoformat(http(account, "GET", "/_laptop/clock")[1]["now"])
    assert abs((datetime.now(UTC) - told).total_seconds()) < 5


def test_a_stopped_laptop_frees_its_port_and_removes_its_folder(account: Account) -> None:
    server = Server()
    home, port = server.account.home, server.account.port
    assert home.is_dir()
    server.stop()
    assert not home.exists()
    with socket.socket() as again:
        again.bind(("127.0.0.1", port))


def test_a_port_in_use_is_a_clear_error(account: Account) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "laptop", "--port", str(account.port)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert finished.returncode == 1
    assert finished.stderr == (
        f"Port {account.port} can't be used: a laptop runs there already, with its console at {account.url}. To take "
        "another: make up PORT=N.\n"
    )


def test_a_call_that_the_sdk_compresses_is_understood(account: Account) -> None:
    cloudwatch = account.client("cloudwatch")
    # more than 10,240 bytes: botocore's threshold for compressing PutMetricData
    data = [{"MetricName": f"metric-with-a-rather-long-name-{n}", "Value": n, "Unit": "Count"} for n in range(300)]
    cloudwatch.put_metric_data(Namespace="Compressed", MetricData=data)
    pages = cloudwatch.get_paginator("list_metrics").paginate(Namespace="Compressed")
    assert len([metric for page in pages for metric in page["Metrics"]]) == 300
