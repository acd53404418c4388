"""Every AWS name and tag, derived. Names are the idempotency keys: the same dataset and code give the same names.

Limits, from the SageMaker service model: training job, model, endpoint config and endpoint names have at most 63
characters of `[a-zA-Z0-9](-*[a-zA-Z0-9])*`, tuning jobs' at most 32.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from mlplatform.facts import CHALLENGER, DATASET_TAG, STACK_TAG, Endpoint, HostingKind, StoredObject

DATASETS_PREFIX = "datasets/"
VERDICTS_PREFIX = "verdicts/"
JOB_SPEC_FILE = "job.json"
NAME_LIMIT = 63
TUNING_NAME_LIMIT = 32
DATASET_PATTERN = re.compile(r"[a-z0-9](-?[a-z0-9]){0,31}")
REQUIRED_TAGS = ("Project", "Environment", "CostCenter", "Owner")  # on everything; by them costs are told apart
VERSION_TAG = "ml-platform:version"  # on a training job: the dataset version
TUNING_TAG = "ml-platform:tuning"  # on a tuning job, and so on its trials: the tuning job's name
CEILING_TAG = "ml-platform:max-cost-usd"  # on a tuning job: what it may cost
HOSTING_TAG = "ml-platform:hosting"  # on a training job and an endpoint: what job.json asked for, see hosting_tag
WANTED_TAG = "ml-platform:wanted-config"  # on an endpoint: the config that it should run
ASKED_TAG = "ml-platform:asked-config"  # on an endpoint: the config of the last create or update call
RELEASE_TAG = "ml-platform:release"  # on an endpoint: the release_key under which its last release is remembered
ASKED_AT_TAG = "ml-platform:asked-at"  # on an endpoint: when it was last updated, so that each failure is told of
LOOK_TAG = "ml-platform:look-again"  # on an endpoint: what was begun there, of whose end no event tells
UNCHECKED_TAG = "ml-platform:unchecked"  # on an endpoint: the model that it gets, until it was looked at in service
BOUNDS_TAG = "ml-platform:scaling-bounds"  # on an endpoint: those that the platform set last, see bounds_tag
TAKEN_TAG = "ml-platform:scaling-before-update"  # on an endpoint: the bounds that a change of its type took, as above
KIND_TAG = "ml-platform:kind"  # on an endpoint: how it is hosted, where that is not in real time
CHALLENGER_TAG = "ml-platform:challenger"  # on an endpoint: the A/B test that it should run, see challenger_tag
ASKED_KIND_TAG = "ml-platform:asked-kind"  # on an endpoint: the kind of the last update that was to change it
STANDS_IN_TAG = "ml-platform:stands-in-for"  # on an endpoint of another kind: the one that becomes like it
BEFORE_TAG = "ml-platform:hosting-before"  # on an endpoint that moves, or its stand-in: the hosting tag that it had
APPROVAL_TAG = "ml-platform:approval"  # on a training job: "manual" where job.json wants a person to approve its model
HOURS_TAG = "ml-platform:hours"  # on an endpoint, or its config while parked: opening hours, see opening_hours.py
KEEP_TAG = "ml-platform:keep"  # on anything that functions made: "always", or a day up to which governance leaves it
ENDS_TAG = "ml-platform:ends-on"  # on an endpoint config: the day on which its endpoint ends because of its age
LAST_WARNING_TAG = "ml-platform:last-warning"  # the same: the day whose eve people were told of
KEEP_ON_TAG = "ml-platform:keep-on-until"  # the same: a moment before which it is not stopped
PARKED_TAG = "ml-platform:parked-"  # and a number from 0, on an endpoint config: pieces of the record, see parking.py
REPORTS_PREFIX = "reports/"  # in the artifact bucket
HOLIDAYS_KEY = "config/holidays.ics"  # in the artifact bucket
STAND_IN = "--stand-in"
ASKED_SUFFIX = "-asked.json"
VARIANT = "AllTraffic"  # must stay the same over updates, or scaling and retained instance counts are lost
OF_SAGEMAKER = "_"  # so begin the hyperparameters that SageMaker adds to a tuning's: _tuning_objective_metric
_VERSION_LENGTH = 12
_TUNING_DIGEST_LENGTH = 11
_TUNING_JOB = re.compile(rf"[a-z][a-z0-9-]*-t[0-9a-f]{{{_TUNING_DIGEST_LENGTH}}}")
_AB_DIGEST_LENGTH = 10
_CODE_LENGTH = 5  # so that the longest dataset name, 32 characters, fits beside a stack named ml-platform


def dataset_version(objects: Iterable[StoredObject]) -> str:
    """The fingerprint of the objects' keys and ETags: 12 hexadecimal digits, whatever their order."""
    digest = hashlib.sha256()
    for stored in sorted(objects, key=lambda stored: stored.key):
        digest.update(f"{stored.key}\0{stored.etag.strip(chr(34))}\0".encode())
    return digest.hexdigest()[:_VERSION_LENGTH]


def run_key(arn: str, started: datetime) -> str:
    """What the meter knows an endpoint by: one that was deleted and made anew is another."""
    return f"{arn} {started.astimezone(UTC).isoformat(timespec='seconds')}"


def endpoint(stack: str, dataset: str) -> str:
    """Also the name of the dataset's model package group."""
    return f"{stack}-{dataset}"


def bare(endpoint_name: str) -> str:
    """The name of the endpoint that this one stands in for, or its own."""
    return endpoint_name.removesuffix(STAND_IN)


def stand_in(endpoint_name: str) -> str:
    """The name of an endpoint that answers in the place of one that becomes another kind. No dataset is called so."""
    return f"{endpoint_name}{STAND_IN}"


def queue_prefix(dataset: str, what: str) -> str:
    """In the artifact bucket: the `inputs`, the `answers` or the `failures` of an asynchronous endpoint."""
    return f"queued/{dataset}/{what}/"


def training_job(stack: str, dataset: str, version: str, code_digest: str) -> str:
    """Also the name of the model and of the endpoint config that come from the job."""
    return f"{stack}-{dataset}-{version}-{code_digest[:_CODE_LENGTH]}"


def dataset_of(stack: str, name: str) -> str | None:
    """Whose job or execution of training_job's naming it is; None for any other, such as a trial or a pipeline's step.

    Those are known by their tag, facts.DATASET_TAG: `<stack>-xgboost-<execution>-<token>` is of no dataset `xgboost`.
    """
    rest = rf"-({DATASET_PATTERN.pattern})-[0-9a-f]{{{_VERSION_LENGTH}}}-[0-9a-f]{{{_CODE_LENGTH}}}"
    match = re.fullmatch(re.escape(stack) + rest, name)
    return match[1] if match else None


def tuning_job(stack: str, dataset: str, version: str, code_digest: str) -> str | None:
    """At most 32 characters; None where the stack's name leaves no room for anything that tells tunings apart.

    As much of the dataset's name as fits, for people, and a fingerprint of dataset, version and code. It is also the
    prefix of its trials' names ("CreateHyperParameterTuningJob", SageMaker API reference). The `t` before the
    fingerprint, no hexadecimal digit, keeps a trial from being named like a training job of any dataset version.
    """
    text = f"{dataset}\0{version}\0{code_digest[:_CODE_LENGTH]}"
    fingerprint = f"t{hashlib.sha256(text.encode()).hexdigest()[:_TUNING_DIGEST_LENGTH]}"
    room = TUNING_NAME_LIMIT - len(f"{stack}--{fingerprint}")
    if room < -1:
        return None
    shown = dataset[: max(room, 0)].strip("-")
    return "-".join(part for part in (stack, shown, fingerprint) if part)


def is_tuning_job(name: str) -> bool:
    """Whether a job's name is one of tuning_job."""
    return _TUNING_JOB.fullmatch(name) is not None


def tuned_for(tuning: str) -> str:
    """The part of a tuning job's name that stands for the stack and as much of the dataset as there was room for."""
    return tuning.rpartition("-t")[0]


def longest_tuning_stack() -> int:
    """How many characters a stack's name may have so that its tuning jobs still have a legal name."""
    return TUNING_NAME_LIMIT - len("-t") - _TUNING_DIGEST_LENGTH


def longest_dataset(stack: str) -> int:
    """How many characters a dataset's name may have so that its training jobs still have a legal name."""
    return NAME_LIMIT - len(training_job(stack, "", "0" * _VERSION_LENGTH, "0" * _CODE_LENGTH))


def is_dataset(stack: str, dataset: str) -> bool:
    """Whether there can be a dataset of that name."""
    return DATASET_PATTERN.fullmatch(dataset) is not None and len(dataset) <= longest_dataset(stack)


def verdict_key(dataset: str, version: str) -> str:
    return f"{VERDICTS_PREFIX}{dataset}/{version}.json"


def manifest_key(dataset: str, version: str) -> str:
    """In the artifact bucket: the S3 manifest that pins a training job's input files."""
    return f"manifests/{dataset}/{version}.json"


def checkpoint_prefix(dataset: str, version: str, code_digest: str) -> str:
    """In the artifact bucket. One per dataset version and code: a shared prefix would resume another model."""
    return f"checkpoints/{dataset}/{version}-{code_digest[:_CODE_LENGTH]}/"


def model_code_key(code_digest: str) -> str:
    """In the artifact bucket: one archive per content, so that an old job's code stays where the job says it is."""
    return f"code/{code_digest}/sourcedir.tar.gz"


def model_source_prefix(code_digest: str) -> str:
    """In the artifact bucket: the same code file by file, which a processing job mounts as it is."""
    return f"code/{code_digest}/source/"


def pipelines_prefix(code_digest: str, definitions_digest: str) -> str:
    """In the artifact bucket: the definitions of pipelines that run that code, as one stack has them."""
    return f"code/{code_digest}/pipelines/{definitions_digest[:16]}/"


def model_card_prefix(dataset: str, job: str) -> str:
    """In the artifact bucket: metrics.json, sample.json and card.html of a registered model."""
    return f"models/{dataset}/{job}/"


def model_card_key(dataset: str, job: str) -> str:
    """In the artifact bucket: the model's card as a page for people."""
    return f"{model_card_prefix(dataset, job)}card.html"


def console_link(s3_address: str, bucket: str, region: str, key: str) -> str:
    """The address of an object in the S3 console; where S3 is at another address than AWS's, the same path there."""
    address = urlsplit(s3_address)
    console = f"{address.scheme}://{address.netloc}"
    if address.hostname and address.hostname.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        console = f"https://console.{'amazonaws.cn' if region.startswith('cn-') else 'aws.amazon.com'}"
    return f"{console}/s3/object/{bucket}?region={region}&prefix={quote(key, safe='')}"


def outcome_key(dataset: str, job: str) -> str:
    """In the artifact bucket: what became of a training job. Written last, so that repeated events do nothing."""
    return f"{model_card_prefix(dataset, job)}outcome.json"


def lineage_key(dataset: str, job: str) -> str:
    """In the artifact bucket: that a pipeline's execution which registered a model was dealt with when it ended."""
    return f"{model_card_prefix(dataset, job)}lineage.json"


def package_model(group: str, version: int) -> str:
    """The model, and its config, of a package whose training job was none of the platform's."""
    return f"{group}-v{version}"


def releases_prefix(dataset: str, version: int | None = None, stamp: str = "") -> str:
    """In the artifact bucket: where it is remembered which changes of a model package, or of all, were acted upon."""
    return f"releases/{dataset}/" + ("" if version is None else f"{version:05d}-{stamp}")


def release_key(dataset: str, version: int, stamp: str) -> str:
    """That a package was deployed because of one change of it; `stamp` is "gate" for what the gate registered."""
    return f"{releases_prefix(dataset, version, stamp)}.json"


def asked_key(dataset: str, version: int, stamp: str) -> str:
    """That people were told or asked because of one change of a package, and nothing was deployed."""
    return f"{releases_prefix(dataset, version, stamp)}{ASKED_SUFFIX}"


def asked_instead(release: str) -> str:
    """The asked_key of a release_key."""
    return release.removesuffix(".json") + ASKED_SUFFIX


def attempt(tags: Mapping[str, str]) -> str:
    """Tells an update of an endpoint, by its tags, from others to the same config."""
    return re.sub(r"\D", "", tags.get(ASKED_AT_TAG, ""))


def notice_key(endpoint_name: str, config: str, status: str) -> str:
    """In the artifact bucket: remembers that people were told about an endpoint's trouble."""
    return f"notices/{endpoint_name}/{config}-{status}.json"


def alarm(endpoint_name: str, what: str, variant: str | None = VARIANT) -> str:
    """An alarm about an endpoint's variant: named after the endpoint, by which office hours and people find it."""
    return f"{of_variant(endpoint_name, variant)}-{what}"


def of_variant(endpoint_name: str, variant: str | None) -> str:
    """What an endpoint's variant has is named by. A capital letter is in no dataset's name, so in no endpoint's."""
    return endpoint_name if variant in (None, VARIANT) else f"{endpoint_name}-{variant}"


def scalable_target(
    endpoint_name: str, variant: str | None = VARIANT, *, kind: HostingKind = HostingKind.REAL_TIME
) -> dict[str, Any]:
    """What names to Application Auto Scaling the part of an endpoint that scales: a variant, or what scales to zero,
    the inference component, which has its endpoint's name."""
    if kind is HostingKind.SCALE_TO_ZERO:
        return {
            "ServiceNamespace": "sagemaker",
            "ResourceId": f"inference-component/{endpoint_name}",
            "ScalableDimension": "sagemaker:inference-component:DesiredCopyCount",
        }
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint_name}/variant/{variant or VARIANT}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def update_alarm(config: str, what: str) -> str:
    """An alarm that watches a config while an endpoint is updated to it, and is gone after that."""
    return f"{config}-update-{what}"


def config_arn(endpoint_arn: str, config: str) -> str:
    """SageMaker writes names in ARNs in lower case."""
    return f"{endpoint_arn.partition(':endpoint/')[0]}:endpoint-config/{config.lower()}"


def ab_config(endpoint_name: str, live: str, challenger: str) -> str:
    """The config of an A/B test: the same two models have the same one."""
    digest = hashlib.sha256(f"{live}\0{challenger}".encode()).hexdigest()
    return f"{endpoint_name}-ab-{digest[:_AB_DIGEST_LENGTH]}"


def challenger_tag(model: str, version: int, weight: float, since: str) -> dict[str, str]:
    """An A/B test as a tag: which model, the number of its package, its share of the traffic, and since when."""
    return {CHALLENGER_TAG: f"model={model} version={version} weight={weight:g} since={since}"}


def models_config(endpoint_name: str, models: Mapping[str, str]) -> str | None:
    """The name of the config whose variants have these models, by the variants' names; None where there are none."""
    live = models.get(VARIANT) or next(iter(models.values()), None)
    challenger = models.get(CHALLENGER)
    return ab_config(endpoint_name, live, challenger) if live and challenger else live


def running_config(endpoint: Endpoint, stack: str) -> str | None:
    """The same as own_config, of an endpoint and all of its variants."""
    models = {one.name: one.model_name for one in endpoint.variants if one.model_name}
    return own_config(endpoint.config_name, models_config(endpoint.name, models) or endpoint.model_name, stack)


def own_config(config: str | None, model: str | None, stack: str) -> str | None:
    """The config of ours that an endpoint runs, if any; `model` is what models_config says of its models.

    Its capacity changed, by scaling as well, an endpoint may run with a copy that SageMaker has named by a random id
    (github.com/aws-controllers-k8s/community/issues/2110). The copy is SageMaker's, without our tags, and nothing says
    that it outlives the endpoint; but it has the model, whose name is that of the config that it was copied from.
    """
    return next((one for one in (config, model) if one and one.startswith(f"{stack}-")), None)


def slack_webhook(stack: str) -> str:
    """The parameter of SSM that holds the Slack webhook; template.yaml has it as SLACK_WEBHOOK_PARAMETER."""
    return f"/{stack}/slack-webhook"


def tags(required: Mapping[str, str], *, stack: str, dataset: str) -> dict[str, str]:
    """The required tags plus what tells the platform's own things from others'."""
    return {**required, STACK_TAG: stack, DATASET_TAG: dataset}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """As the APIs of SageMaker want them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def hosting_tag(hosting: Mapping[str, Any]) -> dict[str, str]:
    """job.json's "hosting" as a tag, so that it travels with the job to the endpoint: `instance_type=ml.m5.large`.

    A tag's value may hold letters, digits, spaces and `_.:/=+-@` (SageMaker API reference, Tag).
    """
    text = " ".join(f"{key}={value}" for key, value in sorted(hosting.items()))
    return {HOSTING_TAG: text} if text else {}


def hosting_wishes(tags: Mapping[str, str]) -> dict[str, str]:
    """The reverse of hosting_tag; a pipeline, which knows no empty values, has `none` for no wishes."""
    return dict(pair.split("=", 1) for pair in tags.get(HOSTING_TAG, "").split() if "=" in pair)


def challenger_wishes(tags: Mapping[str, str]) -> dict[str, str]:
    """The reverse of challenger_tag; empty where no A/B test is to run."""
    return dict(pair.split("=", 1) for pair in tags.get(CHALLENGER_TAG, "").split() if "=" in pair)


def bounds_tag(bounds: tuple[int, int]) -> dict[str, str]:
    """The fewest and the most instances that the platform lets an endpoint scale to: `1..5`."""
    return {BOUNDS_TAG: f"{bounds[0]}..{bounds[1]}"}


def tagged_bounds(value: str | None) -> tuple[int, int] | None:
    """The reverse of bounds_tag, for its value."""
    smallest, _, largest = (value or "").partition("..")
    return (int(smallest), int(largest)) if smallest and largest else None


def cost_answers_key(day: date) -> str:
    """In the artifact bucket: what Cost Explorer answered on a UTC day, so that it is paid for once."""
    return f"cost-explorer/{day.isoformat()}.json"


def report_key(day: date, form: str) -> str:
    """In the artifact bucket: the report made on a UTC day; `form` is "html" or "json"."""
    return f"{REPORTS_PREFIX}{day.isoformat()}.{form}"
