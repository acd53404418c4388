"""A training or tuning job ended: its model is registered and deployed, or kept out, or people hear why there is none.

Of a tuning, the best trial is judged like any training job; the other trials only count for the savings ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform import events, names
from mlplatform.app import App, live_app
from mlplatform.decisions import Decision, DeployModel, KeepLiveModel, Notify, Skip
from mlplatform.deployment import Live, is_trial, plan_deployment, skip_job
from mlplatform.facts import JobStatus, TrainingEnded, TrainingJob, TuningEnded
from mlplatform.ledger import plan_spot_saving
from mlplatform.model_page import with_page
from mlplatform.observability import decided, observed
from mlplatform.tuning import skip_tuning, spending, told, without_best


@observed
def handler(event: Mapping[str, Any], _context: object) -> dict[str, str]:
    """SageMaker's "Training Job State Change" and "HyperParameter Tuning Job State Change"."""
    if events.is_tuning(event):
        return decided(deploy_tuned(live_app(), events.tuning_ended(event)))
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
    return app.aws.apply(_with_page(app, _judged(app, job), job))


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
    return app.aws.apply(_with_page(app, told(_judged(app, job), tuning, spent), job))


def _record_saving(app: App, job: TrainingJob) -> None:
    saving = plan_spot_saving(job, app.settings)
    if saving is not None:
        app.aws.apply(saving)


def _judged(app: App, job: TrainingJob) -> Notify | DeployModel | KeepLiveModel:
    card = None
    if job.status is JobStatus.COMPLETED and job.artifact_uri:
        card = app.aws.artifact_card(job.artifact_uri)
    return plan_deployment(job, card, _live(app, job.dataset or ""), app.settings)


def _with_page(app: App, decision: Decision, job: TrainingJob) -> Decision:
    link = app.aws.artifact_link(names.model_card_key(job.dataset or "", job.name))
    return with_page(decision, job, link, app.settings)


def _live(app: App, dataset: str) -> Live | None:
    endpoint = app.aws.endpoint(names.endpoint(app.settings.stack_name, dataset))
    if endpoint is None:
        return None
    if endpoint.model_name is None:
        return Live(endpoint, job=None, card=None)
    return Live(
        endpoint,
        job=app.aws.training_job(endpoint.model_name),
        card=app.aws.stored_card(dataset, endpoint.model_name),
    )
