"""Every morning: what was spent, saved and is to come, as a message with a page and its numbers behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mlplatform import events, names, prices, report_message, report_page
from mlplatform.app import App, live_app
from mlplatform.cost_report import document, plan_report
from mlplatform.decisions import Decision, ReportCosts, Skip
from mlplatform.observability import decided, observed
from mlplatform.recommendations import recommend, total


@observed
def handler(event: Mapping[str, Any], _context: object) -> dict[str, str]:
    """The schedule's `{"scheduled_time": ...}`; with `"fresh": true` besides, once more with newly asked figures."""
    return decided(report_costs(live_app(), events.scheduled_time(event), fresh=event.get("fresh") is True))


def report_costs(app: App, now: datetime, *, fresh: bool = False) -> Decision:
    today = now.astimezone(UTC).date()
    page_key, numbers_key = names.report_key(today, "html"), names.report_key(today, "json")
    if not fresh and app.aws.artifact_exists(numbers_key):
        return Skip(f"The report of {today} was made and told already.")
    around = app.aws.advice_facts(now)
    advice = recommend(around, prices)
    report = replace(
        plan_report(app.aws.cost_facts(now, fresh=fresh), app.settings),
        advice=advice,
        advice_usd=total(advice),
        not_looked_at=around.not_looked_at,
    )
    link = app.aws.artifact_link(page_key)
    text = report_message.text(report, link)
    subject = report_message.subject(report)
    return app.aws.apply(
        ReportCosts(
            reason=f"{subject}. {report.budget.sentence}"
            + (f" What is missing is said in it, {len(report.missing)} times." if report.missing else ""),
            page_key=page_key,
            page=report_page.page(report),
            numbers_key=numbers_key,
            numbers=document(report, text),
            subject=subject,
            text=text,
            blocks=report_message.slack(report, link),
        )
    )
