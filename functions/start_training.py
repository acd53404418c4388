"""A dataset was dropped: one spot training, tuning or pipeline for each version of it, or a reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform import events, names
from mlplatform.app import App, live_app
from mlplatform.datasets import data_files
from mlplatform.decisions import Decision, HoldDataset, Refuse, StartPipeline, StartTraining, StartTuning
from mlplatform.errors import AwsError
from mlplatform.facts import DatasetArrived, PipelineAsked
from mlplatform.holds import hold_applies
from mlplatform.observability import decided, logger, observed
from mlplatform.quotas import hold_launch
from mlplatform.training import plan_training, refuse_launch, skip_drop
from mlplatform.tuning import with_warm_start
from mlplatform.waiting import held_by


@observed
def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """An SQS batch of S3's "Object Created" events; messages that failed go back to the queue, and only those.

    Or what `mlp pipeline start` asks for.
    """
    app = live_app()
    asked = events.pipeline_asked(event)
    if asked is not None:
        return dict(decided(start_pipeline(app, asked)))
    decisions, failures = [], []
    for message_id, body in events.sqs_messages(event):
        try:
            decisions.append(decided(start_training(app, events.dataset_arrived_message(body))))
        except Exception:
            # Not swallowed: SQS delivers the message again and then puts it in the dead-letter queue.
            logger().exception("A message failed and goes back to the queue", extra={"message_id": message_id})
            failures.append({"itemIdentifier": message_id})
    return {"decisions": decisions, "batchItemFailures": failures}


def start_training(app: App, arrived: DatasetArrived) -> Decision:
    objects = app.aws.list_objects(arrived.prefix)
    verdict_exists = app.aws.verdict_exists(arrived.dataset, names.dataset_version(objects))
    skip = skip_drop(arrived, objects, verdict_exists)
    if skip is not None:
        return skip
    drop = app.aws.read_drop(arrived, objects)
    decision: Decision = plan_training(drop, app.aws.serving(arrived.dataset), app.settings)
    if isinstance(decision, StartTuning) and decision.warm_start:
        decision = with_warm_start(decision, app.aws.tunings_of(arrived.dataset))
    if not isinstance(decision, StartTraining | StartTuning | StartPipeline):
        return app.aws.apply(decision)
    try:
        return app.aws.apply(_held(app, decision) or decision)
    except AwsError as error:
        held = held_by(decision, error)
        if held is None:
            raise
        return app.aws.apply(held)


def start_pipeline(app: App, asked: PipelineAsked) -> Decision:
    """For the data that lies there now. Unlike a drop's, what is refused changes no verdict: the person is told."""
    if not names.is_dataset(app.settings.stack_name, asked.dataset):
        return Refuse(f"There can be no dataset {asked.dataset}; nothing was started.")
    arrived = DatasetArrived(app.settings.data_bucket, f"{names.DATASETS_PREFIX}{asked.dataset}/", "", 0)
    objects = app.aws.list_objects(arrived.prefix)
    if not data_files(objects):
        return Refuse(f"There is no data under {arrived.prefix}; drop some first.")
    drop = app.aws.read_drop(arrived, objects)
    decision = plan_training(drop, app.aws.serving(asked.dataset), app.settings, asked)
    if not isinstance(decision, StartPipeline):
        return Refuse(f"Nothing was started: {decision.reason}")
    held = _held(app, decision)
    return Refuse(f"Nothing was started: {held.reason}") if held else app.aws.apply(decision)


def _held(app: App, decision: StartTraining | StartTuning | StartPipeline) -> HoldDataset | None:
    """Why a launch has to wait: a ceiling is reached, or the account may not have its machines."""
    hold = app.aws.hold()
    if hold is not None and hold_applies(hold, app.aws.now()):
        return refuse_launch(decision, hold)
    return hold_launch(decision, app.aws.quotas(), app.settings)
