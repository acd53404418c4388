"""The stack was made, or a day has passed: the platform's tags become cost allocation tags as soon as they can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform import custom_resource
from mlplatform.app import App, live_app
from mlplatform.cost_tags import DONE_KEY, plan_cost_tags, refused
from mlplatform.custom_resource import Answer, Request
from mlplatform.decisions import Decision, Skip
from mlplatform.errors import AwsError
from mlplatform.observability import decided, logger, observed

# What passes by itself is no refusal.
_PASSING = {"LimitExceededException", "ThrottlingException", "Throttling", "InternalServerError", "ServiceUnavailable"}


@observed
def handler(event: Mapping[str, Any], _context: object) -> dict[str, str]:
    """CloudFormation's request, which is always answered with success, or the daily schedule."""
    if "RequestType" not in event:
        return decided(activate_cost_tags(live_app()))
    request = custom_resource.request(event)
    answer = at_deployment(request)
    custom_resource.send(request, answer)
    return {"decision": "ActivateCostTags", "reason": answer.reason}


def activate_cost_tags(app: App) -> Decision:
    if app.aws.artifact_exists(DONE_KEY):
        return Skip("All cost allocation tags were activated already.")
    try:
        return app.aws.apply(plan_cost_tags(app.aws.cost_tags()))
    except AwsError as error:
        if error.service != "ce" or error.code in _PASSING:
            raise
        return app.aws.apply(refused(error, app.settings.stack_name))


def at_deployment(request: Request, app: App | None = None) -> Answer:
    physical_id = custom_resource.physical_id(request)
    if request.kind == "Delete":
        return Answer(physical_id, True, "The tags stay active: other stacks may have the same.")
    try:
        reason = activate_cost_tags(app or live_app()).reason
    except Exception as failure:  # a bill that can't be told apart is no reason to have no platform
        logger().exception("The cost allocation tags could not be activated")
        reason = f"Not activated: {failure}. It is tried again daily."
    logger().info(reason)
    return Answer(physical_id, True, reason)
