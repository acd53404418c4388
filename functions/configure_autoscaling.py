"""An endpoint is in service: it runs what it should, answers as it should, and scales; or people hear why not.

One that was parked gets back what it had, instead of what a new one gets. While one is updated, the new model is asked
before all the traffic is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform import events, names
from mlplatform.app import App, live_app
from mlplatform.autoscaling import check_endpoint, check_update, plan_autoscaling
from mlplatform.decisions import Decision, FinishDeployment, MakeComponent, Skip
from mlplatform.facts import DATASET_TAG, STACK_TAG, EndpointChanged, HostingKind, Prediction
from mlplatform.observability import decided, observed
from mlplatform.restoring import plan_capacity, plan_restore


@observed
def handler(event: Mapping[str, Any], _context: object) -> dict[str, str]:
    """SageMaker's "Endpoint State Change", and its "Endpoint Deployment State Change" while an update is watched."""
    if events.is_deployment_change(event):
        return decided(check_canary(live_app(), events.endpoint_changed(event)))
    return decided(configure_autoscaling(live_app(), events.endpoint_changed(event)))


def configure_autoscaling(app: App, changed: EndpointChanged) -> Decision:
    endpoint = app.aws.endpoint(changed.endpoint_name)
    if endpoint is None:
        return Skip(f"There is no endpoint {changed.endpoint_name} any more.")
    first = check_endpoint(endpoint, app.settings)
    if endpoint.status != "InService" or isinstance(first, Skip | FinishDeployment | MakeComponent):
        return app.aws.apply(first) if first else Skip(f"{endpoint.name} is {endpoint.status}.")
    config = names.running_config(endpoint, app.settings.stack_name)
    parked = app.aws.parked(endpoint, config)
    failed = app.aws.apply(first) if first is not None and parked is None else None
    capacity = plan_capacity(endpoint, parked) if parked else None
    if capacity is not None:
        return app.aws.apply(capacity)
    card = app.aws.stored_card(endpoint.tags[DATASET_TAG], endpoint.model_name or "")
    prediction = app.aws.smoke_test(endpoint, card.sample_json) if card else Prediction(False, "its model has no card")
    if parked is not None:
        judged = prediction if card and isinstance(prediction, Prediction) else None
        return app.aws.apply(plan_restore(endpoint, parked, judged, app.settings))
    # What an update that failed took from the model that goes on serving, such as its scaling, comes back too.
    done = app.aws.apply(plan_autoscaling(endpoint, prediction, app.settings, app.aws.scaling_bounds(endpoint)))
    return done if failed is None or isinstance(failed, Skip) else failed


def check_canary(app: App, changed: EndpointChanged) -> Decision:
    endpoint = app.aws.endpoint(changed.endpoint_name)
    if endpoint is None or endpoint.pending_config is None:
        return Skip(f"{changed.endpoint_name} is not being updated any more.")
    if endpoint.tags.get(STACK_TAG) != app.settings.stack_name or DATASET_TAG not in endpoint.tags:
        return Skip(f"{endpoint.name} is not an endpoint that {app.settings.stack_name} made.")
    if endpoint.kind is not HostingKind.REAL_TIME:
        return Skip(f"{endpoint.name} is {endpoint.kind.value}; its new model is asked when the update is over.")
    new = endpoint.pending_config  # its model is named like it
    card = app.aws.stored_card(endpoint.tags[DATASET_TAG], new)
    if card is None:
        return Skip(f"{endpoint.name} is being updated to {new}, which has no card to be held against.")
    prediction = app.aws.smoke_test_update(endpoint, new, card.sample_json)
    return app.aws.apply(check_update(endpoint, new, prediction, app.settings))
