"""A model's card as one HTML page: what it predicts, how well, from what, at what cost and where it comes from. Pure.

Everything about the data and the model was computed in the training job (model_code/report.py) and travels in the
artifact as report.json; an artifact without one gets a shorter page. Names of columns, classes and categories are
whatever somebody put into a file: each is escaped, and the page can neither run nor fetch anything.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from html import escape
from typing import Any

from mlplatform import model_plots, names, registry
from mlplatform.decisions import AskApproval, CardPage, Decision, DeployModel, KeepLiveModel
from mlplatform.dollars import money, precise
from mlplatform.facts import ModelCard, ModelPackage, Task, TrainingJob
from mlplatform.html_page import document, figure_card
from mlplatform.model_card import warning_sentence
from mlplatform.model_cost import HostingCost, training_usd, wished_hosting_cost
from mlplatform.model_figures import METRICS, escaped, number, percent, score, signed
from mlplatform.records import dataclass
from mlplatform.settings import Settings
from mlplatform.words import counted

_MOST_WARNINGS = 50
_MOST_LINES = 50  # of hyperparameters, and of packages


@dataclass(frozen=True)
class Facts:
    """What a page is made of. Rows are a name and a value as HTML; one without a value is left out."""

    settings: Settings
    dataset: str
    version: str  # of the dataset
    at: datetime | None
    card: ModelCard
    outcome: str  # of the gate, in a few words that stay true whatever people decide later
    good: bool
    reason: str
    hosting: HostingCost | None  # None where the model gets no endpoint
    training: tuple[str, str]  # what it cost, and a line under it; both HTML
    cost: Sequence[tuple[str, str]]
    lineage: Sequence[tuple[str, str]]
    hyperparameters: Mapping[str, str]


def with_page(decision: Decision, source: TrainingJob | ModelPackage, link: str, settings: Settings) -> Decision:
    """The decision with the page that goes with its model; any other decision as it is.

    `source` is the job that trained it, or the package that something else, such as a pipeline, registered.
    """
    match decision:
        case DeployModel():
            outcome = "passed its gate"
        case KeepLiveModel():
            outcome = "kept out by its gate"
        case AskApproval():
            outcome = "passed its gate; a person decides"
        case _:
            return decision
    if decision.card is None:
        return decision
    kept = isinstance(decision, KeepLiveModel)
    if isinstance(source, TrainingJob):
        facts = _of_job(source, decision.card, settings)
    else:
        facts = _of_package(source, decision.card, settings)
    facts = replace(facts, outcome=outcome, good=not kept, reason=decision.reason)
    if kept:
        facts = replace(facts, hosting=None)
    key = names.model_card_key(decision.dataset, decision.job_name)
    return replace(decision, page=CardPage(key, page(facts), link))


def page(facts: Facts) -> str:
    """A whole document."""
    report = _read(facts.card.report_json)
    metrics = _read(facts.card.metrics_json)
    classes = facts.card.metrics.task is not Task.REGRESSION
    test = facts.card.metrics.test
    charts: list[str]
    if classes:
        charts = [
            _shown(model_plots.calibration, report, test),
            _shown(model_plots.roc, report, test),
            _shown(model_plots.small_confusion, report),
        ]
    else:
        charts = [_shown(model_plots.predicted_and_actual, report), _shown(model_plots.residuals, report)]
    charts += [_shown(model_plots.curve, report), _shown(model_plots.label, report)]
    sections = [
        _header(facts),
        _shown(_lead, facts, report),
        _shown(_cards, facts),
        _shown(_warnings, metrics),
        _shown(_scores, facts, metrics),
        _two(charts),
        _shown(model_plots.large_confusion, report) if classes else "",
        _shown(model_plots.importance, report),
        _shown(model_plots.columns, report),
        _two([f"<div>{_cost(facts)}{_recipe(facts, report)}</div>", _facts("Where it comes from", facts.lineage)]),
        _footer(report),
    ]
    return document(f"{facts.dataset}: model card", sections, _STYLE)


def _two(sections: Sequence[str]) -> str:
    """Side by side where there is room."""
    kept = [section for section in sections if section]
    return f'<div class="two">{"".join(kept)}</div>' if kept else ""


_STYLE = """
.lead{font-size:19px;line-height:1.5;margin:0 0 26px;max-width:46em;letter-spacing:-.005em}
.lead b,td b{font-weight:650;overflow-wrap:anywhere}
.two{row-gap:0}.two>section:last-child:nth-child(odd){grid-column:1/-1}
section>svg{max-width:520px;margin-left:auto;margin-right:auto}
svg .axis{fill:var(--soft);font-size:12px}
td.text,th.text{text-align:left}td.faint,.faint{color:var(--soft)}
.facts td:first-child{color:var(--soft);white-space:nowrap;vertical-align:top;padding-right:18px}
.facts td{white-space:normal;overflow-wrap:anywhere;text-align:left;padding-left:0}
.facts td.code{font:12.5px/1.55 ui-monospace,SFMono-Regular,Menlo,monospace}
.facts tr:first-child td,.bars tr:first-child td{border-top:0}
.verdict{margin:14px 0 0;color:var(--soft)}
.aside{display:flex;flex-wrap:wrap;gap:4px 24px;margin-top:12px;color:var(--soft);font-size:13px}
.aside b{color:var(--ink);font-weight:650;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}
.bars td:first-child{width:30%}.bars td.long{width:100%;padding-left:0}
.track{position:relative;height:14px;border-radius:4px;background:var(--track);min-width:80px}
.track i{position:absolute;top:0;bottom:0;left:0;border-radius:4px;background:var(--c0)}
.track u{position:absolute;top:6px;height:2px;background:var(--ink);opacity:.55;border-radius:1px}
.confusion{width:auto;margin-left:auto;margin-right:auto;table-layout:fixed}
.confusion th,.confusion td{border:0;padding:2px}
.confusion td{position:relative;text-align:center;min-width:82px;height:62px;line-height:1.25;font-size:17px}
.confusion td::before{content:"";position:absolute;inset:1.5px;border-radius:6px;background:var(--bad);opacity:var(--a)}
.confusion td.right::before{background:var(--c0)}.confusion td span{position:relative;font-weight:600}
.confusion td small{position:relative;display:block;color:var(--soft);font-size:12px}
.confusion td.strong span,.confusion td.strong small{color:#fff}
.confusion th{font-weight:500;font-size:12.5px;color:var(--soft);max-width:110px;overflow:hidden;text-overflow:ellipsis;
white-space:nowrap;text-align:center}
.confusion th.actual{text-align:right;padding-right:10px}
.confusion.many td{min-width:46px;height:40px;font-size:14px}
.spark{display:inline-block;width:100px;height:26px;margin:0;vertical-align:middle}
.profile td,.profile th{vertical-align:middle}.profile td.values{white-space:normal;text-align:left;min-width:210px;
font-size:13px;color:var(--soft);overflow-wrap:anywhere}.profile td:first-child{min-width:120px;font-weight:550}
.profile td.kind{text-align:left;color:var(--soft);font-size:13px}.profile .values b{color:var(--ink);font-weight:550}
.chip{display:inline-block;border-radius:99px;padding:0 8px;font-size:12px;line-height:20px;background:var(--track);
color:var(--soft);font-weight:500;margin-left:6px;white-space:nowrap}
@media (max-width:520px){section>svg text,section>svg .axis{font-size:15px}.lead{font-size:17px}
.scores td:first-child{min-width:92px}.scores td,.scores th{padding-left:8px}.scores .tag{margin-left:0}
.scores td:first-child,.scores th:first-child{padding-left:0}
.way,.bars thead,.profile thead,.minor{display:none}
.bars tr,.profile tr{display:flex;flex-wrap:wrap;align-items:center;gap:4px 12px;padding:9px 0;
border-top:1px solid var(--line)}
.bars td,.profile td{border:0;padding:0}.bars td:first-child{flex:1 0 100%;width:auto}
.bars td.long{flex:1 1 40%;width:auto}
.profile td:first-child{flex:1 1 50%}.profile td.values{flex:1 0 100%}.profile td.lacking::before{content:"missing "}}
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
    settings = facts.settings
    at = f"Made on {facts.at:%-d %B %Y, %H:%M} UTC.<br>" if facts.at else ""
    version = f"Dataset version {escape(facts.version)}: " if facts.version else ""
    return (
        f'<header><div><div class="kicker">{escape(settings.stack_name)} · {escape(settings.environment)} · model card'
        f'</div><h1>{escape(facts.dataset)}</h1></div><div class="meta">{at}{version}'
        f'<span class="{"down" if facts.good else "up"}">{escape(facts.outcome)}</span></div></header>'
    )


def _lead(facts: Facts, report: Mapping[str, Any]) -> str:
    """What it predicts, how well, and against the live model, in two sentences."""
    metrics = facts.card.metrics
    label, columns = report.get("label"), report.get("columns")
    name = f"<b>{escape(str(label['name']))}</b>" if isinstance(label, Mapping) and "name" in label else "the label"
    source = f" from {counted(len(columns), 'column')}" if isinstance(columns, Sequence) else ""
    rows = metrics.test.get("rows")
    where = f"On {counted(int(rows), 'test row')} that it never saw" if rows else "On test rows that it never saw"
    test = metrics.test
    if metrics.task is Task.REGRESSION:
        explained = f"explains {percent(test.get('r2'))} of the variance"
        how = f"it is off by {number(test.get('mae'))} on average and {explained}"
    else:
        how = f"it is right in {percent(test.get('accuracy'))} of the cases"
    against = ""
    title = METRICS.get(metrics.objective, (metrics.objective, True))[0]
    if metrics.score is not None:
        against = f"; {escape(title)} {number(metrics.score)}"
        if metrics.live_score is not None:
            better = (metrics.score > metrics.live_score) == metrics.maximize and metrics.score != metrics.live_score
            against += f", {'better' if better else 'no better'} than the live model's {number(metrics.live_score)}"
    return f'<p class="lead">Predicts {name}{source}. {where} {how}{against}.</p>'


def _cards(facts: Facts) -> str:
    card = facts.card.metrics
    first = card.objective
    second = "r2" if card.task is Task.REGRESSION else "accuracy"
    shown = [_score_card(card.test, card.live, name) for name in dict.fromkeys((first, second))]
    shown.append(figure_card("Training it cost", *facts.training))
    shown.append(figure_card("Hosting it, a month", *_hosting_usd(facts)))
    return f'<div class="cards">{"".join(shown)}</div>'


def _score_card(test: Mapping[str, float], live: Mapping[str, float] | None, name: str) -> str:
    title, more_is_better = METRICS.get(name, (name, True))
    value, other = test.get(name), (live or {}).get(name)
    under = "on the test rows; there is no live model to compare with"
    if value is not None and other is not None:
        change = value - other
        style = _better_or_worse(value, other, more_is_better)
        under = f'<span class="{style}">{signed(change, name)}</span> against the live model\'s {score(other, name)}'
    elif live is not None:
        under = "on the test rows"
    return figure_card(escape(title), score(value, name), under)


def _warnings(metrics: Mapping[str, Any]) -> str:
    said = metrics.get("warnings") or []
    if not isinstance(said, list) or not said:
        return ""
    items = "".join(f"<li>{escaped(warning_sentence(one), 1000)}</li>" for one in said[:_MOST_WARNINGS])
    return f'<section class="missing"><h2>Worth a look before it is trusted</h2><ul>{items}</ul></section>'


def _scores(facts: Facts, told: Mapping[str, Any]) -> str:
    metrics = facts.card.metrics
    rows = []
    for name in [*METRICS, *sorted(set(metrics.test) - set(METRICS) - {"rows"})]:
        if name not in metrics.test:
            continue
        title, more_is_better = METRICS.get(name, (name, None))
        value, live = metrics.test[name], (metrics.live or {}).get(name)
        against = ""
        if metrics.live is not None:
            change = "–"
            if live is not None:
                style = _better_or_worse(value, live, more_is_better)
                change = f'<span class="{style}">{signed(value - live, name)}</span>'
            against = f"<td>{score(live, name)}</td><td>{change}</td>"
        way = "" if more_is_better is None else "more is better" if more_is_better else "less is better"
        judged = ' <span class="tag">decides</span>' if name == metrics.objective else ""
        rows.append(
            f'<tr><td>{escaped(title)}{judged}</td><td class="text faint way">{way}</td><td>{score(value, name)}</td>'
            f"{against}</tr>"
        )
    note = (
        "All on the same test rows, which neither the new model's training nor the choice of its best epoch has seen."
    )
    if metrics.live is None and not metrics.live_error:
        note = (
            "On test rows that neither training nor the choice of the best epoch has seen. There is no live model yet."
        )
    if metrics.live_error:
        note += f" The live model could not be scored on them: {escaped(metrics.live_error, 500)}"
    count = metrics.test.get("rows")
    over = f" on {counted(int(count), 'test row')}" if count else ""
    choice = f'<p class="verdict">{escaped(told["choice"], 1000)}</p>' if told.get("choice") else ""
    beside = "" if metrics.live is None else "<th>live model</th><th>difference</th>"
    return (
        f'<section><h2>How well it does{over}</h2><div class="note">{note}</div><div class="scroll">'
        f'<table class="scores"><thead><tr><th></th><th class="text way"></th><th>this model</th>{beside}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div><p class="verdict">{escape(facts.reason)}</p>{choice}</section>'
    )


def _better_or_worse(value: float, other: float, more_is_better: bool | None) -> str:
    """The class that colours a difference."""
    if more_is_better is None or value == other:
        return "faint"
    return "down" if (value > other) == more_is_better else "up"


# ---- cost and lineage ----


def _of_job(job: TrainingJob, card: ModelCard, settings: Settings) -> Facts:
    dataset, version = job.dataset or "", job.tags.get(names.VERSION_TAG, "")
    given = {
        name: value
        for name, value in sorted(job.hyperparameters.items())
        if not name.startswith(("sagemaker_", "_tuning"))
    }
    return Facts(
        settings=settings,
        dataset=dataset,
        version=version,
        at=job.ended,
        card=card,
        outcome="",
        good=True,
        reason="",
        hosting=wished_hosting_cost(job.tags, settings),
        training=_training_usd(job, settings),
        cost=[
            ("Instance", f"{job.instance_count} × {escape(job.instance_type)}, {'spot' if job.spot else 'on demand'}"),
            ("Trained for", _seconds(job.training_seconds)),
            ("Billed for", _seconds(job.billable_seconds)),
        ],
        lineage=[
            ("Training job", escape(job.name)),
            ("Dataset version", escape(version)),
            ("Its files", escape(f"s3://{settings.artifact_bucket}/{names.manifest_key(dataset, version)}")),
            ("Code", escape(job.hyperparameters.get("sagemaker_submit_directory", "").strip('"'))),
            ("Image", escape(job.image)),
            ("Artifact", escape(job.artifact_uri or "")),
            ("Compared with", escape(job.inputs.get("live_model", ""))),
        ],
        hyperparameters=given,
    )


def _of_package(package: ModelPackage, card: ModelCard, settings: Settings) -> Facts:
    """What a package says of itself, as registry.py has it, and what its evaluation says of each algorithm's cost."""
    said = dict(package.properties)
    paid, cost = Decimal(0), []
    candidates = _read(card.metrics_json).get("candidates")
    for name, one in candidates.items() if isinstance(candidates, Mapping) else ():
        seconds, usd = (one.get("seconds"), one.get("usd")) if isinstance(one, Mapping) else (None, None)
        if isinstance(usd, int | float) and math.isfinite(usd):
            paid += Decimal(str(usd))
            cost.append((f"Training {escaped(name, 30)}", f"{precise(Decimal(str(usd)))}, {_seconds(seconds)} billed"))
    known = said.get("training_usd", "")
    if known.replace(".", "", 1).isdigit():
        paid = Decimal(known)
    return Facts(
        settings=settings,
        dataset=registry.dataset_of(package.group, settings.stack_name) or "",
        version=said.get("dataset_version", ""),
        at=package.created,
        card=card,
        outcome="",
        good=True,
        reason="",
        hosting=wished_hosting_cost({names.HOSTING_TAG: said.get("hosting", "")}, settings),
        training=(precise(paid), "what its training was billed") if paid else ("Not known", "its package does not say"),
        cost=cost,
        lineage=[
            ("Model package", escape(package.arn)),
            *(
                (escaped(name.replace("_", " ").capitalize()), escaped(value, 256))
                for name, value in said.items()
                if not name.startswith("hp_")
            ),
            ("Image", escape(package.image)),
            ("Artifact", escape(package.artifact_uri)),
        ],
        hyperparameters={name.removeprefix("hp_"): value for name, value in said.items() if name.startswith("hp_")},
    )


def _training_usd(job: TrainingJob, settings: Settings) -> tuple[str, str]:
    paid = training_usd(job, settings.aws_region)
    if job.billable_seconds is None or not job.training_seconds:
        return "Not known", "SageMaker has not said for how long it is billed"
    if paid is None:
        return "Not known", f"{job.billable_seconds} s billed; there is no price for {escape(job.instance_type)}"
    note = f"{job.billable_seconds} s billed"
    if job.billable_seconds < job.training_seconds:
        share = 1 - job.billable_seconds / job.training_seconds
        note = f'<span class="down">{share * 100:.0f} % saved</span> by spot: {note} of {job.training_seconds} s'
    return precise(paid), note


def _hosting_usd(facts: Facts) -> tuple[str, str]:
    cost = facts.hosting
    if cost is None:
        return "Nothing", "it gets no endpoint"
    return "Not known" if cost.usd_per_month is None else money(cost.usd_per_month), escape(cost.formula)


def _cost(facts: Facts) -> str:
    rows = [
        *facts.cost,
        ("Cost", " — ".join(facts.training)),
        ("Hosting", " a month — ".join(_hosting_usd(facts))),
    ]
    return _facts("What it costs", rows, "At list price, before tax and credits.", kind="")


def _recipe(facts: Facts, report: Mapping[str, Any]) -> str:
    packages = report.get("packages")
    installed = packages.items() if isinstance(packages, Mapping) else ()
    rows = [
        ("Hyperparameters", [f"{escaped(name)} = {escaped(value)}" for name, value in facts.hyperparameters.items()]),
        ("Packages", [f"{escaped(name)} {escaped(value)}" for name, value in installed]),
    ]
    return _facts("How it was made", [(name, "<br>".join(lines[:_MOST_LINES])) for name, lines in rows])


def _facts(title: str, rows: Sequence[tuple[str, str]], note: str = "", kind: str = "code") -> str:
    body = "".join(f'<tr><td>{name}</td><td class="{kind}">{value}</td></tr>' for name, value in rows if value)
    said = f'<div class="note">{note}</div>' if note else ""
    return (
        f'<section><h2>{title}</h2>{said}<table class="facts"><tbody>{body}</tbody></table></section>' if body else ""
    )


def _footer(report: Mapping[str, Any]) -> str:
    if not report:
        return (
            "<footer>This model's artifact has no report that can be read, so that its card has neither the profile of "
            "its data nor plots.</footer>"
        )
    return (
        "<footer>Profiles, plots and importance were computed in the training job and hold aggregates only: no row of "
        "the data is here, and a category is named where at least five rows share it.</footer>"
    )


def _seconds(seconds: object) -> str:
    return f"{seconds:,} s" if isinstance(seconds, int) else "not known"
