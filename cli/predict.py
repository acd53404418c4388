"""Invokes a dataset's endpoint and explains what it refuses."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from cli import hours
from cli.connection import CommandError, Connection
from mlplatform import names
from mlplatform.delimited import Text, decode, parse, sniff
from mlplatform.errors import DataRejected
from mlplatform.facts import HostingKind
from mlplatform.kinds import kind_of

_LONGEST_SECONDS = 20 * 60  # an instance takes less to start
MOST_BYTES = 6_291_456  # BodyBlob of InvokeEndpoint, SageMaker runtime's service model


def request_of(file: Path, content: bytes) -> tuple[bytes, str]:
    """The body and its content type: `.json` as it is, everything else as the CSV that an endpoint takes.

    A table is read as a drop's is: compressed or not, in UTF-8, UTF-16 or Latin-1, separated by commas, semicolons,
    tabs or pipes. Raises CommandError for what is no table, and for more than a request may hold.
    """
    if not content.strip():
        raise CommandError(f"{file.name} is empty.")
    if file.suffix == ".json":
        return _sized(file, content), "application/json"
    try:
        text = decode(file.name, content, complete=True)
        if text.complete:
            content = _as_csv(text)
        elif file.suffix == ".gz":
            content = gzip.decompress(content)  # so that its size can be told
    except DataRejected as error:
        raise CommandError(str(error)) from error
    return _sized(file, content), "text/csv"


def _as_csv(text: Text) -> bytes:
    delimiter = sniff(text)
    if delimiter == "comma":
        return text.content.encode()
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerows(parse(text, delimiter).rows)
    return written.getvalue().encode()


def _sized(file: Path, content: bytes) -> bytes:
    if len(content) > MOST_BYTES:
        raise CommandError(
            f"{file.name} comes to {len(content):,} bytes, and a request may hold {MOST_BYTES:,}; split it into "
            f"{-(-len(content) // MOST_BYTES)} files or more."
        )
    return content


def invoke(
    connection: Connection, dataset: str, body: bytes, content_type: str, accept: str, variant: str | None = None
) -> str:
    """The answer as text, of the variant that is named or that SageMaker chooses.

    Raises CommandError with the model's own sentence when it refuses the input.

    SageMaker wraps a container's 4xx in ModelError and puts the original body into OriginalMessage:
    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
    """
    name = connection.endpoint_name(dataset)
    request: dict[str, Any] = {"EndpointName": name, "Body": body, "ContentType": content_type, "Accept": accept}
    if variant is not None:
        request["TargetVariant"] = variant
    runtime = connection.client("sagemaker-runtime")
    try:
        try:
            answer = runtime.invoke_endpoint(**request)
        except ClientError as error:
            kind = _kind(connection, name) if _code(error) == "ValidationError" else HostingKind.REAL_TIME
            if kind is HostingKind.ASYNCHRONOUS:
                return _queued(connection, dataset, request)
            if kind is not HostingKind.SCALE_TO_ZERO:
                raise
            answer = runtime.invoke_endpoint(**request, InferenceComponentName=name)
    except ClientError as error:
        if _code(error) == "ModelError":
            raise CommandError(_refusal(error.response.get("OriginalMessage", str(error)))) from error
        if _code(error) == "ValidationError" and "no capacity" in str(error):
            raise CommandError(
                f"{dataset} sleeps, and this call wakes it. Until an instance has started, which takes minutes, every "
                "call fails like this one; try again then."
            ) from error
        if _code(error) == "ValidationError" and "not found" in str(error):
            until = hours.asleep(connection).get(connection.endpoint_name(dataset))
            if until:
                raise CommandError(
                    f"{dataset} is asleep {until}. To wake it sooner: mlp snooze {dataset} --hours 2"
                ) from error
            raise CommandError(
                f"{dataset} has no endpoint. `mlp status {dataset}` says how far it has come."
            ) from error
        raise
    text: str = answer["Body"].read().decode()
    return text


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def _kind(connection: Connection, name: str) -> HostingKind:
    """How an endpoint is hosted; of one that is not there, as most are."""
    try:
        found = connection.sagemaker.describe_endpoint(EndpointName=name)
        config = connection.sagemaker.describe_endpoint_config(EndpointConfigName=found["EndpointConfigName"])
    except ClientError as error:
        if "could not find" not in str(error).lower():
            raise
        return HostingKind.REAL_TIME
    return kind_of(config)


def _queued(connection: Connection, dataset: str, request: dict[str, Any]) -> str:
    """The answer of an asynchronous endpoint, which comes by S3, and after minutes where it sleeps."""
    bucket, ending = connection.outputs["ArtifactBucketName"], "json" if "json" in request["ContentType"] else "csv"
    key = f"{names.queue_prefix(dataset, 'inputs')}{uuid.uuid4()}.{ending}"
    connection.s3.put_object(Bucket=bucket, Key=key, Body=request.pop("Body"))
    queued = connection.client("sagemaker-runtime").invoke_endpoint_async(
        **request, InputLocation=f"s3://{bucket}/{key}"
    )
    answer, failure = queued["OutputLocation"], queued["FailureLocation"]
    sys.stderr.write(f"{dataset} is asynchronous: the answer will be at {answer}; it takes minutes where it sleeps\n")
    for _ in range(_LONGEST_SECONDS):
        content = _stored(connection, answer)
        if content is not None:
            return content.decode()
        refused = _stored(connection, failure)
        if refused is not None:
            raise CommandError(_refusal(refused.decode()))
        time.sleep(1)
    raise CommandError(
        f"{dataset} has not answered within {_LONGEST_SECONDS // 60} minutes; look for {answer} later, or "
        f"for {failure}."
    )


def _stored(connection: Connection, uri: str) -> bytes | None:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        content: bytes = connection.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        if _code(error) not in {"NoSuchKey", "404"}:
            raise
        return None
    return content


def _refusal(original: str) -> str:
    try:
        value = json.loads(original)
    except ValueError:
        return original
    return str(value.get("error", original)) if isinstance(value, dict) else original
