"""A model's card as one HTML page: what it predicts, how well, from what, at what cost and where it comes from. Pure.

Everything about the data and the model was computed in the training job (model_code/report.py) and travels in the
artifact as report.json; an artifact without one gets a shorter page. Names of columns, classes and categories are
whatever somebody put into a file: each is escaped, and the page can neither run nor fetch anything.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from html import escape
from typing import Any

from mlplatform import names, prices
from mlplatform.cost_report import money, precise
from mlplatform.decisions import AskApproval, CardPage, Decision, DeployModel, KeepLiveModel
from mlplatform.errors import UnknownPrice
from mlplatform.facts import ModelCard, Task, TrainingJob
from mlplatform.html_page import document, figure_card
from mlplatform.settings import Settings

_METRICS = {  # what a reader calls it, and whether more is better
    "roc_auc": ("ROC AUC", True),
    "accuracy": ("Accuracy", True),
    "log_loss": ("Log loss", False),
    "brier": ("Brier score", False),
    "ece": ("Calibration error (ECE)", False),
    "rmse": ("Root mean squared error", False),
    "mae": ("Mean absolute error", False),
    "r2": ("Explained variance (R²)", True),
}
_SHARES = {"accuracy"}  # shown in per cent
_MOST_WARNINGS = 50


@dataclass(frozen=True)
class Facts:
    """What a page is made of."""

    job: TrainingJob
    card: ModelCard
    outcome: str  # what became of the model, in a few words
    reason: str
    hosting: Mapping[str, Any] | None  # the endpoint's only variant; None where the model gets no endpoint
    settings: Settings

    @property
    def dataset(self) -> str:
        return self.job.dataset or ""


def with_page(decision: Decision, job: TrainingJob, link: str, settings: Settings) -> Decision:
    """The decision with the page that goes with its model; any other decision as it is."""
    hosting: Mapping[str, Any] | None = None
    match decision:
        case DeployModel():
            outcome, hosting = "goes live", decision.endpoint_config["ProductionVariants"][0]
        case KeepLiveModel():
            outcome = "kept out"
        case AskApproval():
            outcome = "waits for a person's approval"
        case _:
            return decision
    if decision.card is None:
        return decision
    facts = Facts(job, decision.card, outcome, decision.reason, hosting, settings)
    return replace(decision, page=CardPage(names.model_card_key(decision.dataset, job.name), page(facts), link))


def page(facts: Facts) -> str:
    """A whole document."""
    report = _read(facts.card.report_json)
    metrics = _read(facts.card.metrics_json)
    sections = [
        _header(facts),
        _lead(facts, report),
        _cards(facts),
        _shown(_warnings, metrics),
        _scores(facts),
        f'<div class="two">{_cost(facts)}{_lineage(facts, report)}</div>',
        _footer(report),
    ]
    return document(f"{facts.dataset}: model card", sections, _STYLE)


_STYLE = """
.lead{font-size:18px;line-height:1.5;margin:0 0 24px;max-width:48em}
.lead b{font-weight:650;overflow-wrap:anywhere}
td.text,th.text{text-align:left}td.code{font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,monospace;text-align:left;
white-space:normal;overflow-wrap:anywhere}
.facts td:first-child{color:var(--soft);white-space:nowrap;vertical-align:top}
.facts td{white-space:normal;overflow-wrap:anywhere}
.verdict{color:var(--soft);margin:10px 0 0}
"""


def _read(content: bytes) -> Mapping[str, Any]:
    """A JSON object of the artifact; empty where there is none that can be read."""
    try:
        found = json.loads(content) if content else {}
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) else {}


def _shown(draw: Callable[..., str], *given: Any) -> str:
    """One section. A part of the report that is not as it should be costs its own section, and never the model."""
    try:
        return draw(*given)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return ""


def _header(facts: Facts) -> str:
    settings, job = facts.settings, facts.job
    ended = f"Trained on {job.ended:%-d %B %Y at %H:%M} UTC.<br>" if job.ended else ""
    style = "down" if facts.hosting is not None else "up"
    return (
        f'<header><div><div class="kicker">{escape(settings.stack_name)} · {escape(settings.environment)} · model card'
        f"</div><h1>{escape(facts.dataset)}</h1></div>"
        f'<div class="meta">{ended}Version {escape(job.tags.get(names.VERSION_TAG, "not known"))}: '
        f'<span class="{style}">{escape(facts.outcome)}</span></div></header>'
    )


def _lead(facts: Facts, report: Mapping[str, Any]) -> str:
    """What it predicts, how well, and against the live model, in two sentences."""
    metrics = facts.card.metrics
    label, columns = report.get("label"), report.get("columns")
    name = f"<b>{escape(str(label['name']))}</b>" if isinstance(label, Mapping) and "name" in label else "the label"
    source = f" from {_count(len(columns), 'column')}" if isinstance(columns, Sequence) else ""
    rows = metrics.test.get("rows")
    where = f"On {_count(int(rows), 'test row')} that it never saw" if rows else "On test rows that it never saw"
    test = metrics.test
    if metrics.task is Task.REGRESSION:
        explained = f"explains {_percent(test.get('r2'))} of the variance"
        how = f"it is off by {_number(test.get('mae'))} on average and {explained}"
    else:
        how = f"it is right in {_percent(test.get('accuracy'))} of the cases"
    against = ""
    title = _METRICS.get(metrics.objective, (metrics.objective, True))[0]
    if metrics.score is not None:
        against = f"; {escape(title)} {_number(metrics.score)}"
        if metrics.live_score is not None:
            better = (metrics.score > metrics.live_score) == metrics.maximize and metrics.score != metrics.live_score
            against += f", {'better' if better else 'no better'} than the live model's {_number(metrics.live_score)}"
    return f'<p class="lead">Predicts {name}{source}. {where} {how}{against}.</p>'


def _cards(facts: Facts) -> str:
    card = facts.card.metrics
    first = card.objective
    second = "r2" if card.task is Task.REGRESSION else "accuracy"
    shown = [_score_card(card.test, card.live, name) for name in dict.fromkeys((first, second))]
    usd, note = _training_usd(facts)
    shown.append(figure_card("Training it cost", usd, note))
    usd, note = _hosting_usd(facts)
    shown.append(figure_card("Hosting it, a month", usd, note))
    return f'<div class="cards">{"".join(shown)}</div>'


def _score_card(test: Mapping[str, float], live: Mapping[str, float] | None, name: str) -> str:
    title, more_is_better = _METRICS.get(name, (name, True))
    value, other = test.get(name), (live or {}).get(name)
    under = "on the test rows; there is no live model to compare with"
    if value is not None and other is not None:
        change = value - other
        style = "down" if change and (change > 0) == more_is_better else "up" if change else "note"
        under = f'<span class="{style}">{_signed(change, name)}</span> against the live model\'s {_score(other, name)}'
    elif live is not None:
        under = "on the test rows"
    return figure_card(escape(title), _score(value, name), under)


def _warnings(metrics: Mapping[str, Any]) -> str:
    said = metrics.get("warnings") or []
    if not isinstance(said, list) or not said:
        return ""
    items = "".join(f"<li>{escape(str(one))}</li>" for one in said[:_MOST_WARNINGS])
    return f'<section class="missing"><h2>Worth a look before it is trusted</h2><ul>{items}</ul></section>'


def _scores(facts: Facts) -> str:
    metrics = facts.card.metrics
    rows = []
    for name in [*_METRICS, *sorted(set(metrics.test) - set(_METRICS) - {"rows"})]:
        if name not in metrics.test:
            continue
        title, more_is_better = _METRICS.get(name, (name, None))
        value, live = metrics.test[name], (metrics.live or {}).get(name)
        change = ""
        if live is not None:
            better = more_is_better is not None and value != live and ((value > live) == more_is_better)
            style = "" if more_is_better is None or value == live else f' class="{"down" if better else "up"}"'
            change = f"<span{style}>{_signed(value - live, name)}</span>"
        way = "" if more_is_better is None else "more is better" if more_is_better else "less is better"
        judged = ' <span class="tag">decides</span>' if name == metrics.objective else ""
        rows.append(
            f'<tr><td>{escape(title)}{judged}</td><td class="note text">{way}</td><td>{_score(value, name)}</td>'
            f"<td>{_score(live, name) if live is not None else '–'}</td><td>{change or '–'}</td></tr>"
        )
    note = "All on the same test rows, which neither training nor the choice of the best epoch has seen."
    if metrics.live_error:
        note += f" The live model could not be scored on them: {escape(metrics.live_error)}"
    count = metrics.test.get("rows")
    over = f" on {_count(int(count), 'test row')}" if count else ""
    return (
        f'<section><h2>How well it does{over}</h2><div class="note">{note}</div><table><thead><tr><th></th>'
        '<th class="text"></th><th>this model</th><th>live model</th><th>difference</th></tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table><p class="verdict">{escape(facts.reason)}</p></section>'
    )


# ---- cost and lineage ----


def _training_usd(facts: Facts) -> tuple[str, str]:
    """The figure, and a line under it; both HTML."""
    job = facts.job
    if not job.training_seconds or job.billable_seconds is None:
        return "Not known", "SageMaker has not said for how long it is billed"
    try:
        price = _hour(facts, job.instance_type, "training")
    except UnknownPrice:
        return "Not known", f"{job.billable_seconds} s billed; there is no price for {escape(job.instance_type)}"
    paid = job.billable_seconds * job.instance_count * price / prices.SECONDS_PER_HOUR
    saved = (job.training_seconds - job.billable_seconds) * job.instance_count * price / prices.SECONDS_PER_HOUR
    note = f"{job.billable_seconds} s billed"
    if saved > 0:
        share = 1 - job.billable_seconds / job.training_seconds
        note = f'<span class="down">{share:.0%} saved</span> by spot: {note} of {job.training_seconds} s'
    return precise(paid), note


def _hosting_usd(facts: Facts) -> tuple[str, str]:
    if facts.hosting is None:
        return "Nothing", "it gets no endpoint"
    kind, count = facts.hosting.get("InstanceType"), int(facts.hosting.get("InitialInstanceCount", 1))
    if kind is None:
        return "By use", "serverless: billed by the request"
    try:
        month = _hour(facts, kind, "hosting") * prices.HOURS_PER_MONTH * count
    except UnknownPrice:
        return "Not known", f"there is no price for {escape(kind)}"
    closed = "" if facts.settings.environment == "prod" else "; less by its closed hours"
    return money(month), f"{count} × {escape(kind)} around the clock{closed}"


def _hour(facts: Facts, kind: str, use: prices.Use) -> Decimal:
    return prices.usd_per_hour(kind, use, facts.settings.aws_region)


def _cost(facts: Facts) -> str:
    job = facts.job
    rows = [
        ("Instance", f"{job.instance_count} × {escape(job.instance_type)}, {'spot' if job.spot else 'on demand'}"),
        ("Trained for", _seconds(job.training_seconds)),
        ("Billed for", _seconds(job.billable_seconds)),
        ("Cost", " — ".join(_training_usd(facts))),
        ("Hosting", " a month, ".join(_hosting_usd(facts))),
    ]
    return _facts("What it costs", "At list price, before tax and credits.", rows)


def _lineage(facts: Facts, report: Mapping[str, Any]) -> str:
    job, settings = facts.job, facts.settings
    version = job.tags.get(names.VERSION_TAG, "")
    packages = report.get("packages")
    given = {
        name: value for name, value in job.hyperparameters.items() if not name.startswith(("sagemaker_", "_tuning"))
    }
    rows = [
        ("Training job", escape(job.name)),
        ("Dataset version", escape(version)),
        ("Its files", escape(f"s3://{settings.artifact_bucket}/{names.manifest_key(facts.dataset, version)}")),
        ("Code", escape(job.hyperparameters.get("sagemaker_submit_directory", "").strip('"'))),
        ("Image", escape(job.image)),
        ("Artifact", escape(job.artifact_uri or "")),
        ("Compared with", escape(job.inputs.get("live_model", ""))),
        ("Hyperparameters", "<br>".join(escape(f"{name} = {value}") for name, value in sorted(given.items()))),
    ]
    if isinstance(packages, Mapping):
        rows.append(("Packages", "<br>".join(escape(f"{name} {value}") for name, value in packages.items())))
    return _facts("Where it comes from", "", [(name, value) for name, value in rows if value], code=True)


def _facts(title: str, note: str, rows: Sequence[tuple[str, str]], *, code: bool = False) -> str:
    kind = ' class="code"' if code else ""
    body = "".join(f"<tr><td>{name}</td><td{kind}>{value}</td></tr>" for name, value in rows)
    said = f'<div class="note">{note}</div>' if note else ""
    return f'<section><h2>{title}</h2>{said}<table class="facts"><tbody>{body}</tbody></table></section>'


def _footer(report: Mapping[str, Any]) -> str:
    if not report:
        return (
            "<footer>This model's artifact has no report that can be read, so that its card has neither the profile of "
            "its data nor plots.</footer>"
        )
    return "<footer></footer>"


# ---- figures ----


def _number(value: float | None) -> str:
    """Four digits that count, with thousands apart; a dash for what there is not."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 1e15 or abs(value) < 1e-4:
        return f"{value:.3g}".replace("-", "−")
    places = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(places, 6)}f}".replace("-", "−")


def _percent(share: float | None) -> str:
    return "–" if share is None or not math.isfinite(share) else f"{share * 100:.1f} %".replace("-", "−")


def _score(value: float | None, name: str) -> str:
    return _percent(value) if name in _SHARES else _number(value)


def _signed(change: float, name: str) -> str:
    if name in _SHARES:
        text = f"{abs(change) * 100:.1f} points"
    else:
        text = _number(abs(change))
    return text if not change else f"{'+' if change > 0 else '−'}{text}"


def _seconds(seconds: int | None) -> str:
    return "not known" if seconds is None else f"{seconds:,} s"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
