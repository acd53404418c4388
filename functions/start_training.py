"""A dataset was dropped: one spot training or tuning job for each version of it, or a reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform import events, names
from mlplatform.app import App, live_app
from mlplatform.decisions import Decision, StartTraining, StartTuning
from mlplatform.facts import DatasetArrived, Endpoint
from mlplatform.observability import decided, logger, observed
from mlplatform.spend import hold_applies
from mlplatform.training import plan_training, refuse_launch, skip_drop
from mlplatform.tuning import with_warm_start


@observed
def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """An SQS batch of S3's "Object Created" events; messages that failed go back to the queue, and only those."""
    app = live_app()
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
    stack = app.settings.stack_name
    # A name that no dataset can have is no endpoint's either; the planner says so better than SageMaker would.
    live = _live(app, names.endpoint(stack, arrived.dataset)) if names.is_dataset(stack, arrived.dataset) else None
    decision: Decision = plan_training(drop, live, app.settings)
    if isinstance(decision, StartTuning) and decision.warm_start:
        decision = with_warm_start(decision, app.aws.tunings_of(arrived.dataset))
    if isinstance(decision, StartTraining | StartTuning):
        hold = app.aws.hold()
        if hold is not None and hold_applies(hold, app.aws.now()):
            decision = refuse_launch(decision, hold)
    return app.aws.apply(decision)


def _live(app: App, endpoint: str) -> Endpoint | None:
    """What serves the dataset, or is parked for the morning: the new model has to beat that too."""
    parked = None
    serving = app.aws.endpoint(endpoint)
    if serving is None:
        parked = app.aws.parked_endpoint(endpoint)
    return parked[0] if parked else serving
