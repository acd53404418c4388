"""Stack created or updated -> the model code in S3, where SageMaker's containers fetch it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlplatform import code_archive, custom_resource, names, pipelines
from mlplatform.app import App, live_app
from mlplatform.custom_resource import Answer, Request
from mlplatform.observability import logger, metrics, observed


def publish_model_code(app: App, request: Request, root: Callable[[], Path] = code_archive.layer_root) -> Answer:
    """Uploads the model code, packed and file by file, under its digest, and the pipelines' definitions with it.

    Answers with the code's Uri and Digest, and in Pipelines with where the definitions lie.

    Older code stays, also when the stack goes: running endpoints and the lineage of registered models refer to it.
    """
    physical_id = custom_resource.physical_id(request)
    if request.kind == "Delete":
        return Answer(physical_id, True, "The published code stays: models that were made with it refer to it.")
    packed = code_archive.pack(root())
    bucket, key = app.settings.artifact_bucket, names.model_code_key(packed.digest)
    for name, content in packed.files.items():
        app.aws.put_object(bucket, names.model_source_prefix(packed.digest) + name, content)
    app.aws.put_object(bucket, key, packed.archive)
    uri = f"s3://{bucket}/{key}"
    definitions = pipelines.published_definitions(app.settings, uri.rpartition("/")[0])
    digest = hashlib.sha256("".join(definitions.values()).encode()).hexdigest()
    prefix = names.pipelines_prefix(packed.digest, digest)
    for name, text in definitions.items():
        app.aws.put_object(bucket, f"{prefix}{name}.json", text.encode())
    reason = f"The model code is published as {uri} ({len(packed.archive)} bytes), with {len(definitions)} pipelines."
    return Answer(physical_id, True, reason, {"Uri": uri, "Digest": packed.digest, "Pipelines": prefix})


@observed
def handler(event: Mapping[str, Any], _context: object) -> dict[str, str]:
    """Always answers, because CloudFormation waits for minutes for an answer that does not come."""
    request = custom_resource.request(event)
    try:
        answer = publish_model_code(live_app(), request)
    except Exception as failure:  # told to CloudFormation, which rolls back with this reason
        logger().exception("The model code could not be published")
        answer = Answer(custom_resource.physical_id(request), False, f"{type(failure).__name__}: {failure}")
    custom_resource.send(request, answer)
    decision = "PublishModelCode" if answer.succeeded else "Failed"
    logger().info(answer.reason, extra={"decision": decision})
    metrics().add_metric(name=decision, unit="Count", value=1)
    return {"decision": decision, "reason": answer.reason}
