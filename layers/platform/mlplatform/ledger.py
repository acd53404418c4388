"""The savings ledger: every saving is one small object in the artifact bucket, keyed by what it was saved on.

`ledger/<yyyy-mm>/<kind>-<fingerprint of the key>.json`, written once and never changed (PutObject with If-None-Match).
An event that comes twice, a function that is repeated, two of them at the same time: all name the same object, so
that nothing can be counted twice. Totals are sums over the objects of a month; there is no running total to go wrong.

Honest by construction: an entry carries the formula it was computed by, with its numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from mlplatform import prices
from mlplatform.decisions import Notify, RecordSaving
from mlplatform.errors import UnknownPrice
from mlplatform.facts import Saving, SavingKind, TrainingJob
from mlplatform.settings import Settings

PREFIX = "ledger/"
_CENTS = Decimal("0.000001")  # a spot job of some minutes saves fractions of a cent


def entry(kind: SavingKind, key: str, usd: Decimal, formula: str, at: datetime, dataset: str | None) -> Saving:
    """One saving of `usd` US dollars at the moment `at`; `key` says on what: a job's ARN, an endpoint's night.

    `at` decides the month (UTC, as AWS bills), so it must be the same whenever the same event is looked at.
    """
    return Saving(kind, key, usd.quantize(_CENTS), formula, at.astimezone(UTC), dataset)


def object_key(saving: Saving) -> str:
    """In the artifact bucket."""
    fingerprint = hashlib.sha256(saving.key.encode()).hexdigest()[:32]
    return f"{month_prefix(saving.at)}{saving.kind}-{fingerprint}.json"


def month_prefix(at: datetime) -> str:
    """Where the entries of a moment's month lie."""
    return f"{PREFIX}{at.astimezone(UTC):%Y-%m}/"


def document(saving: Saving) -> dict[str, Any]:
    return {
        "kind": saving.kind,
        "key": saving.key,
        "usd": str(saving.usd),
        "formula": saving.formula,
        "at": saving.at.isoformat(),
        "dataset": saving.dataset,
    }


def parse(content: bytes) -> Saving:
    """The reverse of document. Raises ValueError for anything else."""
    found = json.loads(content)
    if not isinstance(found, Mapping):
        raise ValueError(f"An entry of the ledger is a JSON object, not {content[:100]!r}.")
    try:
        return Saving(
            found["kind"],
            str(found["key"]),
            Decimal(str(found["usd"])),
            str(found["formula"]),
            datetime.fromisoformat(found["at"]),
            found.get("dataset"),
        )
    except (KeyError, TypeError, ArithmeticError) as error:
        raise ValueError(f"An entry of the ledger lacks something: {error!r} in {content[:200]!r}.") from error


def spot_saving(job: TrainingJob, region: str) -> Saving | None:
    """What managed spot saved on an ended job; None where nothing was saved or SageMaker does not say.

    (TrainingTimeInSeconds - BillableTimeInSeconds) x instances x the on-demand price: "Managed Spot Training in Amazon
    SageMaker AI" gives the percentage of it, from the same two numbers. The seconds that a job waited for capacity are
    in neither. Raises UnknownPrice.
    """
    if not job.spot or job.ended is None or not job.training_seconds or job.billable_seconds is None:
        return None
    seconds = job.training_seconds - job.billable_seconds
    if seconds <= 0:
        return None
    price = prices.instance_price(job.instance_type, "training", region)
    usd = seconds * job.instance_count * price.usd / prices.SECONDS_PER_HOUR
    formula = (
        f"({job.training_seconds} s training - {job.billable_seconds} s billable) x {job.instance_count} x "
        f"{price.usd} USD/hour for {job.instance_type} / 3600 s = {usd.quantize(_CENTS)} USD "
        f"(list price in {region}, {price.trusted}, {price.source_date or 'undated'})"
    )
    return entry("spot", job.arn, usd, formula, job.ended, job.dataset)


def plan_spot_saving(job: TrainingJob, settings: Settings) -> RecordSaving | Notify | None:
    """What the ledger gets for an ended job. A missing price is told once for each type, and keeps no model waiting."""
    try:
        saving = spot_saving(job, settings.aws_region)
    except UnknownPrice as error:
        return Notify(
            f"What spot saved on {job.name} can't be said in dollars. {error}",
            f"No price for {job.instance_type}",
            f"{PREFIX}told/{job.instance_type}.json",
        )
    if saving is None:
        return None
    return RecordSaving(f"Spot saved {saving.usd} USD on {job.name}: {saving.formula}.", saving)
