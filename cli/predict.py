"""Invokes a dataset's endpoint and explains what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

from botocore.exceptions import ClientError

from cli import hours
from cli.connection import CommandError, Connection


def content_type_of(file: Path) -> str:
    """By the file's ending: `.json` is JSON, everything else CSV."""
    return "application/json" if file.suffix == ".json" else "text/csv"


def invoke(connection: Connection, dataset: str, body: bytes, content_type: str, accept: str) -> str:
    """The answer as text. Raises CommandError with the model's own sentence when it refuses the input.

    SageMaker wraps a container's 4xx in ModelError and puts the original body into OriginalMessage:
    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
    """
    try:
        answer = connection.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=connection.endpoint_name(dataset), Body=body, ContentType=content_type, Accept=accept
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
