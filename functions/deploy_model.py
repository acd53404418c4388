"""A training job ended: its model is registered and deployed, or kept out, or people hear why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform import events, names
from mlplatform.app import App, live_app
from mlplatform.decisions import Decision, Skip
from mlplatform.deployment import Live, plan_deployment, skip_job
from mlplatform.facts import JobStatus, TrainingEnded
from mlplatform.ledger import plan_spot_saving
from mlplatform.model_page import with_page
from mlplatform.observability import decided, observed


@observed
def handler(event: Mapping[str, Any], _context: object) -> dict[str, str]:
    """SageMaker's "Training Job State Change"."""
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
