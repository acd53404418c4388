"""An endpoint is in service: it runs what it should, answers as it should, and scales; or people hear why not.

One that was parked gets back what it had, instead of what a new one gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform import events, names
from mlplatform.app import App, live_app
from mlplatform.autoscaling import check_endpoint, plan_autoscaling
from mlplatform.decisions import Decision, FinishDeployment, Skip
from mlplatform.facts import DATASET_TAG, EndpointChanged, Prediction
from mlplatform.observability import decided, observed
from mlplatform.restoring import plan_capacity, plan_restore


@observed
def handler(event: Mapping[str, Any], _context: object) -> dict[str, str]:
    """SageMaker's "Endpoint State Change"."""
    return decided(configure_autoscaling(live_app(), events.endpoint_changed(event)))


def configure_autoscaling(app: App, changed: EndpointChanged) -> Decision:
    endpoint = app.aws.endpoint(changed.endpoint_name)
    if endpoint is None:
        return Skip(f"There is no endpoint {changed.endpoint_name} any more.")
    first = check_endpoint(endpoint, app.settings)
    if endpoint.status != "InService" or isinstance(first, Skip | FinishDeployment):
        return app.aws.apply(first) if first else Skip(f"{endpoint.name} is {endpoint.status}.")
    config = names.own_config(endpoint.config_name, endpoint.model_name, app.settings.stack_name)
    parked = app.aws.parked(endpoint, config)
    if first is not None and parked is None:
        return app.aws.apply(first)
    capacity = plan_capacity(endpoint, parked) if parked else None
    if capacity is not None:
        return app.aws.apply(capacity)
    card = app.aws.stored_card(endpoint.tags[DATASET_TAG], endpoint.model_name or "")
    prediction = app.aws.smoke_test(endpoint, card.sample_json) if card else Prediction(False, "its model has no card")
    if parked is not None:
        return app.aws.apply(plan_restore(endpoint, parked, prediction if card else None, app.settings))
    return app.aws.apply(plan_autoscaling(endpoint, prediction, app.settings, app.aws.scaling_bounds(endpoint)))
