"""A training, tuning or pipeline ended, or a model was approved or rejected: it is deployed, kept out, or asked about.

Of a tuning, the best trial is judged like any training job; the other trials only count for the savings ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from mlplatform import events, names, registry
from mlplatform.app import App, live_app
from mlplatform.decisions import Decision, DeployModel, Skip
from mlplatform.deployment import Live, is_trial, not_dealt_with, plan_deployment, skip_job
from mlplatform.errors import PlatformError, TryAgain
from mlplatform.facts import (
    JobStatus,
    ModelCard,
    ModelPackage,
    PackageChanged,
    PipelineEnded,
    TrainingEnded,
    TrainingJob,
    TuningEnded,
    UnreadableCard,
)
from mlplatform.kinds import AUTO
from mlplatform.ledger import plan_spot_saving
from mlplatform.observability import decided, observed
from mlplatform.pipelines import plan_outcome
from mlplatform.quotas import fit_deployment
from mlplatform.releases import Known, as_it_is, as_it_was, lost_approval, plan_release, skip_package
from mlplatform.tuning import Judged, skip_tuning, spending, told, without_best

if TYPE_CHECKING:
    from mlplatform.choosing import Chosen


_REMEMBERED = timedelta(days=1)  # for so long an end is looked for whose event was lost


@observed
def handler(event: Mapping[str, Any], _context: object) -> dict[str, str] | list[dict[str, str]]:
    """SageMaker's events of trainings, tunings, pipelines and model packages; the Scheduler every 4 hours."""
    if "scheduled_time" in event:
        now = events.scheduled_time(event)
        return [decided(one) for find in (find_lost_ends, find_lost_approvals) for one in find(live_app(), now)]
    if events.is_tuning(event):
        return decided(deploy_tuned(live_app(), events.tuning_ended(event)))
    if events.is_pipeline_end(event):
        return decided(finish_pipeline(live_app(), events.pipeline_ended(event)))
    if events.is_package_change(event):
        return decided(release_model(live_app(), events.package_changed(event)))
    return decided(deploy_model(live_app(), events.training_ended(event)))


def deploy_model(app: App, ended: TrainingEnded) -> Decision:
    job = app.aws.training_job(ended.job_name)
    if job is None:
        return Skip(f"There is no training job {ended.job_name} in this account and region.")
    dataset = job.dataset or ""
    if is_trial(job, app.settings):
        _record_saving(app, job)
        return Skip(f"{job.name} is a trial of {job.tuning}; the end of the tuning decides.")
    skip = skip_job(job, bool(dataset) and app.aws.outcome_exists(dataset, job.name), app.settings)
    if skip is not None:
        return skip
    _record_saving(app, job)
    return app.aws.apply(_with_page(app, _judged(app, job), job, job.name, job.dataset))


def deploy_tuned(app: App, ended: TuningEnded) -> Decision:
    tuning = app.aws.tuning_job(ended.tuning_name)
    if tuning is None:
        return Skip(f"There is no tuning job {ended.tuning_name} in this account and region.")
    dataset = tuning.dataset or ""
    key = tuning.best or tuning.name  # whose outcome is the tuning's
    skip = skip_tuning(tuning, bool(dataset) and app.aws.outcome_exists(dataset, key), app.settings)
    if skip is not None:
        return skip
    spent = spending(app.aws.trials_of(tuning.name), app.settings.aws_region, app.aws.now())
    job = app.aws.training_job(tuning.best) if tuning.best else None
    if job is None:
        return app.aws.apply(without_best(tuning, spent))
    return app.aws.apply(_with_page(app, told(_judged(app, job), tuning, spent), job, job.name, job.dataset))


def _record_saving(app: App, job: TrainingJob) -> None:
    saving = plan_spot_saving(job, app.settings)
    if saving is not None:
        app.aws.apply(saving)


def _judged(app: App, job: TrainingJob) -> Judged:
    card = None
    if job.status is JobStatus.COMPLETED and job.artifact_uri:
        card = app.aws.artifact_card(job.artifact_uri)
    live = _live(app, job.dataset or "")
    chosen = _chosen(app, job.tags, live, card)
    if chosen is not None:
        job = replace(job, tags={**job.tags, names.HOSTING_TAG: chosen.hosting})
    decision = plan_deployment(job, card, live, app.settings)
    if not isinstance(decision, DeployModel):
        return decision
    return fit_deployment(_explained(decision, chosen), live, app.aws.quotas(), app.settings)


def _chosen(
    app: App, tags: Mapping[str, str], live: Live | None, card: ModelCard | UnreadableCard | None
) -> Chosen | None:
    """The kind of hosting, where job.json leaves that to the platform."""
    if names.hosting_wishes(tags).get("kind") != AUTO:
        return None
    from mlplatform.choosing import choose  # as below

    traffic = app.aws.traffic(live.endpoint) if live else None
    sample = card.sample_json if isinstance(card, ModelCard) else b""
    return choose(tags[names.HOSTING_TAG], live.endpoint if live else None, traffic, app.settings, sample)


def _explained(decision: DeployModel, chosen: Chosen | None) -> DeployModel:
    if chosen is None:
        return decision
    said = f"{decision.reason} {chosen.reason}"
    return replace(decision, reason=said, difference=(*decision.difference, *chosen.table))


def _with_page(
    app: App, decision: Decision, of: TrainingJob | ModelPackage, model: str, dataset: str | None
) -> Decision:
    from mlplatform.model_page import with_page  # most events are of no end that is judged, and pay for no page

    link = app.aws.artifact_link(names.model_card_key(dataset or "", model))
    return with_page(decision, of, link, app.settings)


def finish_pipeline(app: App, ended: PipelineEnded) -> Decision:
    """What an execution has registered is judged when that is told of; here its trainings count, and its failure."""
    run = app.aws.pipeline_run(ended.execution_arn)
    if run is None:
        return Skip(f"There is no pipeline execution {ended.execution_arn} in this account and region.")
    trained = []
    for step in run.steps if run.ours(app.settings.stack_name) else ():
        job = app.aws.training_job(step.job_name) if step.kind == "TrainingJob" else None
        if job is not None:
            trained.append(job)
            if not step.cached:
                _record_saving(app, job)
    failed = run.failed
    said = app.aws.processing_message(failed.job_name) if failed and failed.kind == "ProcessingJob" else None
    return app.aws.apply(plan_outcome(run, trained, said, app.settings))


def release_model(app: App, changed: PackageChanged) -> Decision:
    dataset = registry.dataset_of(changed.group, app.settings.stack_name)
    package = as_it_was(app.aws.model_package(changed.arn) if dataset else None, changed)
    changed = as_it_is(package, changed)
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
    chosen = _chosen(app, {names.HOSTING_TAG: package.properties.get("hosting", "")}, live, known.card)
    if chosen is not None:
        package = replace(package, properties={**package.properties, "hosting": chosen.hosting})
    decision: Decision = plan_release(package, changed, known, app.settings)
    if isinstance(decision, DeployModel):
        decision = _explained(decision, chosen)
    if isinstance(decision, DeployModel):
        decision = fit_deployment(decision, live, app.aws.quotas(), app.settings)
    if changed.new:  # of what the platform registered itself, the page was made when its training ended
        decision = _with_page(app, decision, package, registry.model_name(package), dataset)
    return app.aws.apply(decision)


def find_lost_ends(app: App, now: datetime) -> list[Decision]:
    """Events may be lost: what ended within the last day is dealt with all the same, some hours later."""
    found: list[Decision] = []
    for ended in app.aws.ended(now - _REMEMBERED, now - events.ON_ITS_WAY):
        if app.aws.dealt_with(ended):
            continue
        try:
            match ended.event:
                case TrainingEnded():
                    found.append(deploy_model(app, ended.event))
                case TuningEnded():
                    found.append(deploy_tuned(app, ended.event))
                case PipelineEnded():
                    found.append(finish_pipeline(app, ended.event))
        except TryAgain as error:
            found.append(Skip(f"{error} The clock finds it again."))
        except PlatformError as error:
            # Not swallowed: people are told, and the clock, which is the retry, finds it again.
            found.append(app.aws.apply(not_dealt_with(ended, error)))
    return found or [Skip("Every job that ended was dealt with.")]


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
    """What serves the dataset, or is to serve it again, with what its model is judged by."""
    found = app.aws.serving(dataset)
    if found is None:
        return None
    known = _known(app, dataset, found.endpoint.model_name)
    return Live(found.endpoint, *known, parked=found.parked, standing_in=found.standing_in)


def _known(app: App, dataset: str, model: str | None) -> tuple[TrainingJob | None, ModelCard | None]:
    """The job that trained a model, and the model's card."""
    return (app.aws.training_job(model), app.aws.stored_card(dataset, model)) if model else (None, None)
