"""Lifting the hold of a spending ceiling, and starting what it held back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from botocore.exceptions import ClientError

from cli.connection import Connection
from mlplatform import holds, names
from mlplatform.facts import StoredObject

_LOOK_BACK = timedelta(days=32)  # longer than any hold


def lift(connection: Connection) -> str | None:
    """Removes the hold, and remembers it for its period and for today; returns that period, None if nothing is held."""
    bucket = connection.outputs["ArtifactBucketName"]
    found = _document(connection, bucket, holds.HOLD_KEY)
    if found is None:
        return None
    hold = holds.read_hold(found)
    known = (_document(connection, bucket, holds.RESUMED_KEY) or {}).get("periods", [])
    periods = sorted({*known, hold.period, holds.day_of(connection.now())})
    # First what stops the meter from holding again, or a tick between the two would.
    body = json.dumps({"periods": periods}).encode()
    connection.s3.put_object(Bucket=bucket, Key=holds.RESUMED_KEY, Body=body, ContentType="application/json")
    connection.s3.delete_object(Bucket=bucket, Key=holds.HOLD_KEY)
    return hold.period


def start_what_waits(connection: Connection) -> list[str]:
    """Tells start-training of every dataset whose newest version is held, in the words of S3's own event."""
    started = []
    for verdict in _held(connection):
        objects = _objects(connection, verdict["dataset"])
        if not objects or names.dataset_version(objects) != verdict["version"]:
            continue  # it was dropped again, or is gone
        newest = max(objects, key=lambda stored: (stored.last_modified, stored.key))
        sqs = connection.client("sqs")
        queue = sqs.get_queue_url(QueueName=f"{connection.stack}-drops")["QueueUrl"]
        sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(_event(connection.data_bucket, newest)))
        started.append(verdict["dataset"])
    return started


def _held(connection: Connection) -> Iterator[dict[str, Any]]:
    oldest = connection.now() - _LOOK_BACK
    pages = connection.s3.get_paginator("list_objects_v2").paginate(
        Bucket=connection.data_bucket, Prefix=names.VERDICTS_PREFIX
    )
    for page in pages:
        for entry in page.get("Contents", []):
            if entry["LastModified"] < oldest:
                continue
            verdict = _document(connection, connection.data_bucket, entry["Key"])
            if verdict is not None and verdict["verdict"] == "held":
                yield verdict


def _objects(connection: Connection, dataset: str) -> list[StoredObject]:
    pages = connection.s3.get_paginator("list_objects_v2").paginate(
        Bucket=connection.data_bucket, Prefix=f"{names.DATASETS_PREFIX}{dataset}/"
    )
    return [
        StoredObject(entry["Key"], entry["ETag"].strip('"'), entry["Size"], entry["LastModified"])
        for page in pages
        for entry in page.get("Contents", [])
        if not (entry["Key"].endswith("/") and entry["Size"] == 0)
    ]


def _event(bucket: str, stored: StoredObject) -> dict[str, Any]:
    """What start-training needs of S3's "Object Created" event (events/s3_object_created.json is a whole one)."""
    return {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {
            "bucket": {"name": bucket},
            "object": {"key": stored.key, "size": stored.size_bytes, "etag": stored.etag},
            "reason": "mlp costs resume",
        },
    }


def _document(connection: Connection, bucket: str, key: str) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(connection.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None
        raise
    return content
