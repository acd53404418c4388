"""When a model that passed the gate still needs a person, and what that person is told.

A person is asked

- `cost`: in Environment prod, where a month of hosting at the fewest instances costs more than ApprovalCeilingUsd, or
  nobody knows what it costs;
- `suspicious`: where the metric moved too far up to be believed. On the same test rows, the new model leaves less than
  a tenth of the live model's error and is all but perfect (more than 0.999 of what can be reached); or its training
  warns of something, such as a column that gives the label away, that the live model's did not warn of. Where no
  model is live there is nothing to protect, so that a first model's warnings hold it back in prod only;
- `requested`: where job.json says "approval": "manual";
- `tested`: where an A/B test runs on the endpoint, which any release ends: the gate never does that by itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from mlplatform import names
from mlplatform.facts import Endpoint, ModelCard, ModelMetrics, Task
from mlplatform.model_cost import HostingCost, hosting_cost, wished_hosting_cost
from mlplatform.records import dataclass
from mlplatform.settings import Settings

_LEFT_OVER = 0.1  # of the live model's error
_ALL_BUT_PERFECT = 0.001  # of the error that there could be


@dataclass(frozen=True)
class Ask:
    """Why a person has to look."""

    kinds: str  # of cost, suspicious and requested, with spaces between
    reason: str  # a clause


def why_ask(
    card: ModelCard,
    live_card: ModelCard | None,
    cost: HostingCost,
    settings: Settings,
    *,
    serving: bool,
    requested: bool = False,
    tested: Mapping[str, str] | None = None,
) -> Ask | None:
    """For a model that passed the gate. `serving`: a model is live, whose card, if there is one, is `live_card`.

    `tested` is what names.challenger_wishes says of its endpoint.
    """
    found = {
        "cost": too_expensive(cost, settings),
        "suspicious": _suspicious(card.metrics, live_card.metrics if live_card else None, serving, settings),
        "requested": "its job.json asks for that" if requested else None,
        "tested": f"its approval ends the A/B test of version {tested.get('version', '?')}" if tested else None,
    }
    said = {kind: why for kind, why in found.items() if why}
    return Ask(" ".join(said), ", and ".join(said.values())) if said else None


def too_expensive(cost: HostingCost, settings: Settings) -> str | None:
    """Why its price alone needs a person, a clause; None where it does not."""
    if settings.environment != "prod":
        return None
    if cost.usd_per_month is None:
        return f"what its hosting costs is {cost.formula.rstrip('.')}"
    if cost.usd_per_month <= settings.approval_ceiling_usd:
        return None
    return (
        f"its hosting costs {cost.usd_per_month} USD a month ({cost.formula}), more than the "
        f"{settings.approval_ceiling_usd} USD of ApprovalCeilingUsd"
    )


def _suspicious(new: ModelMetrics, live: ModelMetrics | None, serving: bool, settings: Settings) -> str | None:
    known = {_without_numbers(doubt) for doubt in live.doubts} if live else set()
    fresh = [doubt for doubt in new.doubts if _without_numbers(doubt) not in known]
    if fresh and (serving or settings.environment == "prod"):
        return f"its training warns: {' '.join(fresh).rstrip('.')}"
    error, before = _error(new, new.score), _error(new, new.live_score)
    if error is None or before is None or before <= 0 or error >= _LEFT_OVER * before:
        return None
    if _share_left(new) >= _ALL_BUT_PERFECT:
        return None
    return (
        f"its {new.objective} went from {new.live_score:.4f} to {new.score:.4f}, which is too good to be believed "
        "unseen: a column may give the label away"
    )


def _without_numbers(text: str) -> str:
    """A warning is the same one where its figures are those of other rows."""
    return re.sub(r"\d[\d.,]*", "", text)


def _error(metrics: ModelMetrics, score: float | None) -> float | None:
    """How far from perfect: what is missing to 1 for a score that grows, the score itself for one that shrinks."""
    if score is None or not math.isfinite(score):
        return None
    return 1 - score if metrics.maximize else score


def _share_left(metrics: ModelMetrics) -> float:
    """The error as a share of what it could be: of a number to predict, the variance that is left unexplained."""
    if metrics.task is Task.REGRESSION:
        return 1 - metrics.test.get("r2", 0.0)
    return _error(metrics, metrics.score) or 0.0


def difference(card: ModelCard | None, endpoint: Endpoint | None, cost: HostingCost, settings: Settings) -> list[str]:
    """What would change with the new model, a sentence each: the metric and the monthly cost against the live one."""
    lines = []
    metrics = card.metrics if card else None
    if metrics is not None and metrics.score is not None:
        line = f"{metrics.objective} {metrics.score:.4f} on its test rows"
        if metrics.live_score is not None:
            line += (
                f"; the live model has {metrics.live_score:.4f} on the same ({metrics.score - metrics.live_score:+.4f})"
            )
        lines.append(f"Metric: {line}.")
        lines += [f"Warning: {warning}" for warning in metrics.warnings]
    if cost.usd_per_month is None:
        return [*lines, f"Hosting: {cost.formula}"]
    line = f"{cost.usd_per_month} USD a month ({cost.formula})"
    now = live_cost(endpoint, settings) if endpoint else None
    if now is not None and now.usd_per_month is not None:
        change = cost.usd_per_month - now.usd_per_month
        line += f", now {now.usd_per_month}: {f'{change:+} USD a month' if change else 'no difference'}"
    return [*lines, f"Hosting: {line}."]


def live_cost(endpoint: Endpoint, settings: Settings) -> HostingCost | None:
    if endpoint.instance_type is None:
        return wished_hosting_cost(endpoint.tags, settings)
    wishes = names.hosting_wishes(endpoint.tags)
    fewest = int(wishes.get("min_instances", settings.min_instances))
    return hosting_cost(endpoint.instance_type, fewest, endpoint.tags, settings)
