"""Every AWS name and tag, derived. Names are the idempotency keys: the same dataset and code give the same names.

Limits, from the SageMaker service model: training job, model, endpoint config and endpoint names have at most 63
characters of `[a-zA-Z0-9](-*[a-zA-Z0-9])*`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from mlplatform.facts import StoredObject

DATASETS_PREFIX = "datasets/"
VERDICTS_PREFIX = "verdicts/"
JOB_SPEC_FILE = "job.json"
NAME_LIMIT = 63
DATASET_PATTERN = re.compile(r"[a-z0-9](-?[a-z0-9]){0,31}")
_VERSION_LENGTH = 12
_CODE_LENGTH = 6


def dataset_version(objects: Iterable[StoredObject]) -> str:
    """The fingerprint of the objects' keys and ETags: 12 hexadecimal digits, whatever their order."""
    digest = hashlib.sha256()
    for stored in sorted(objects, key=lambda stored: stored.key):
        digest.update(f"{stored.key}\0{stored.etag.strip(chr(34))}\0".encode())
    return digest.hexdigest()[:_VERSION_LENGTH]


def endpoint(stack: str, dataset: str) -> str:
    """Also the name of the dataset's model package group."""
    return f"{stack}-{dataset}"


def training_job(stack: str, dataset: str, version: str, code_digest: str) -> str:
    """Also the name of the model and of the endpoint config that come from the job."""
    return f"{stack}-{dataset}-{version}-{code_digest[:_CODE_LENGTH]}"


def longest_dataset(stack: str) -> int:
    """How many characters a dataset's name may have so that its training jobs still have a legal name."""
    return NAME_LIMIT - len(training_job(stack, "", "0" * _VERSION_LENGTH, "0" * _CODE_LENGTH))


def verdict_key(dataset: str, version: str) -> str:
    return f"{VERDICTS_PREFIX}{dataset}/{version}.json"


def manifest_key(dataset: str, version: str) -> str:
    """In the artifact bucket: the S3 manifest that pins a training job's input files."""
    return f"manifests/{dataset}/{version}.json"


def checkpoint_prefix(dataset: str, version: str, code_digest: str) -> str:
    """In the artifact bucket. One per dataset version and code: a shared prefix would resume another model."""
    return f"checkpoints/{dataset}/{version}-{code_digest[:_CODE_LENGTH]}/"


def model_card_prefix(dataset: str, job: str) -> str:
    """In the artifact bucket: metrics.json and sample.json of an accepted model, beside its package."""
    return f"models/{dataset}/{job}/"


def tags(required: Mapping[str, str], *, stack: str, dataset: str) -> dict[str, str]:
    """The required tags plus what tells the platform's own things from others'."""
    return {**required, "ml-platform:stack": stack, "ml-platform:dataset": dataset}
