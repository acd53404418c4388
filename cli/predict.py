"""Invokes a dataset's endpoint and explains what it refuses."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

from botocore.exceptions import ClientError

from cli import hours
from cli.connection import CommandError, Connection
from mlplatform.delimited import Text, decode, parse, sniff
from mlplatform.errors import DataRejected

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
    try:
        answer = connection.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=connection.endpoint_name(dataset),
            Body=body,
            ContentType=content_type,
            Accept=accept,
            **({"TargetVariant": variant} if variant else {}),
        )
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "ModelError":
            raise CommandError(_refusal(error.response.get("OriginalMessage", str(error)))) from error
        if code == "ValidationError" and "not found" in str(error):
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


def _refusal(original: str) -> str:
    try:
        value = json.loads(original)
    except ValueError:
        return original
    return str(value.get("error", original)) if isinstance(value, dict) else original
