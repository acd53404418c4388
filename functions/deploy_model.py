"""A training job ended, or a model was approved or rejected: it is registered, deployed, kept out, or asked about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mlplatform import events, names, registry
from mlplatform.app import App, live_app
from mlplatform.decisions import Decision, Skip
from mlplatform.deployment import Live, plan_deployment, skip_job
from mlplatform.facts import JobStatus, PackageChanged, TrainingEnded
from mlplatform.ledger import plan_spot_saving
from mlplatform.model_page import with_page
from mlplatform.observability import decided, observed
from mlplatform.releases import Known, lost_approval, plan_release, skip_package


@observed
def handler(event: Mapping[str, Any], _context: object) -> dict[str, str] | list[dict[str, str]]:
    """SageMaker's "Training Job State Change" and "Model Package State Change", and the Scheduler every 4 hours."""
    now = events.scheduled_time(event)
    if now is not None:
        return [decided(one) for one in find_lost_approvals(live_app(), now)]
    if events.is_package_change(event):
        return decided(release_model(live_app(), events.package_changed(event)))
    return decided(deploy_model(live_app(), events.training_ended(event)))


def deploy_model(app: App, ended: TrainingEnded) -> Decision:
    job = app.aws.training_job(ended.job_name)
    if job is None:
        return Skip(f"There is no training job {ended.job_name} in this account and region.")
    dataset = job.dataset or ""
    skip = skip_job(job, bool(dataset) and app.aws.outcome_exists(dataset, job.name), app.settings)
    if skip is not None:
        return skip
    saving = plan_spot_saving(job, app.settings)
    if saving is not None:
        app.aws.apply(saving)
    card = None
    if job.status is JobStatus.COMPLETED and job.artifact_uri:
        card = app.aws.artifact_card(job.artifact_uri)
    decision = plan_deployment(job, card, _live(app, dataset), app.settings)
    link = app.aws.artifact_link(names.model_card_key(dataset, job.name))
    return app.aws.apply(with_page(decision, job, link, app.settings))


def release_model(app: App, changed: PackageChanged) -> Decision:
    dataset = registry.dataset_of(changed.group, app.settings.stack_name)
    package = app.aws.model_package(changed.arn) if dataset else None
    acted_upon = dataset is not None and app.aws.acted_upon(dataset, changed.version, changed.stamp)
    skip = skip_package(package, changed, acted_upon, app.settings)
    if skip is not None or package is None or dataset is None:
        return skip or Skip(f"Model package {changed.arn} is gone.")
    live = _live(app, dataset)
    known = Known(
        live=live,
        live_version=app.aws.live_version(package.group, live.endpoint.model_name or "") if live else None,
        card=app.aws.stored_card(dataset, registry.model_name(package)) or app.aws.artifact_card(package.artifact_uri),
    )
    decision: Decision = plan_release(package, changed, known, app.settings)
    if changed.new:  # of what the platform registered itself, the page was made when its training ended
        link = app.aws.artifact_link(names.model_card_key(dataset, registry.model_name(package)))
        decision = with_page(decision, package, link, app.settings)
    return app.aws.apply(decision)


def find_lost_approvals(app: App, now: datetime) -> list[Decision]:
    """Events may be lost; what was approved is deployed all the same, some hours later."""
    found = []
    for package in app.aws.newest_approvals():
        dataset = registry.dataset_of(package.group, app.settings.stack_name)
        done = dataset is None or app.aws.acted_upon(dataset, package.version)
        lost = lost_approval(package, done, now)
        if lost is not None:
            found.append(release_model(app, lost))
    return found or [Skip("Every approval was acted upon.")]


def _live(app: App, dataset: str) -> Live | None:
    """What serves the dataset, or is parked for the morning."""
    name = names.endpoint(app.settings.stack_name, dataset)
    endpoint, parked = app.aws.endpoint(name), None
    if endpoint is None:
        found = app.aws.parked_endpoint(name)
        if found is None:
            return None
        endpoint, parked = found
    model = endpoint.model_name
    return Live(
        endpoint,
        job=app.aws.training_job(model) if model else None,
        card=app.aws.stored_card(dataset, model) if model else None,
        parked=parked,
    )
