"""An endpoint is in service: it runs what it should, answers as it should, and scales; or people hear why not.

One that was parked gets back what it had, instead of what a new one gets. While one is updated, the new model is asked
before all the traffic is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlplatform import events, names
from mlplatform.app import App, live_app
from mlplatform.autoscaling import check_endpoint, check_update, plan_autoscaling, skip_update, told_elsewhere
from mlplatform.decisions import Decision, EndAbTest, FinishDeployment, MakeComponent, Skip
from mlplatform.errors import AwsError
from mlplatform.experiments import as_challenger, for_challenger, plan_share, plan_variants
from mlplatform.facts import (
    DATASET_TAG,
    STACK_TAG,
    Endpoint,
    EndpointChanged,
    HostingKind,
    ModelCard,
    Prediction,
    Unasked,
)
from mlplatform.moving import QUIET, Pair, asks, begins, moves, not_begun, plan_move
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
    moved = _move(app, changed.endpoint_name, endpoint)
    if moved is not None:
        return moved
    if endpoint is None:
        return Skip(f"There is no endpoint {changed.endpoint_name} any more.")
    first = check_endpoint(endpoint, app.settings)
    if isinstance(first, MakeComponent):
        made = app.aws.apply(first)
        endpoint = app.aws.endpoint(changed.endpoint_name) or endpoint
        first = check_endpoint(endpoint, app.settings)
        if first is not None:
            return made
    if endpoint.status != "InService" or isinstance(first, Skip | FinishDeployment):
        return app.aws.apply(first) if first else Skip(f"{endpoint.name} is {endpoint.status}.")
    elsewhere = told_elsewhere(endpoint)
    if elsewhere is not None:
        app.aws.apply(elsewhere)
    config = names.running_config(endpoint, app.settings.stack_name)
    parked = app.aws.parked(endpoint, config)
    failed = app.aws.apply(first) if first is not None and parked is None else None
    capacity = plan_capacity(endpoint, parked) if parked else None
    if capacity is not None:
        return app.aws.apply(capacity)
    variants = plan_variants(endpoint, app.settings) if parked is None else None
    if variants is not None:
        return app.aws.apply(variants)
    card, prediction = _tried(app, endpoint)
    if parked is not None:
        judged = prediction if card and isinstance(prediction, Prediction) else None
        return app.aws.apply(plan_restore(endpoint, parked, judged, app.settings))
    # What an update that failed took from the model that goes on serving, such as its scaling, comes back too.
    done = app.aws.apply(plan_autoscaling(endpoint, prediction, app.settings, app.aws.scaling_bounds(endpoint)))
    told = done if failed is None or isinstance(failed, Skip) else failed
    challenger = as_challenger(endpoint)
    if challenger is None:
        return told
    tried = _configure_challenger(app, endpoint, challenger)
    return told if isinstance(tried, Skip) else tried


def _move(app: App, name: str, found: Endpoint | None) -> Decision | None:
    """What an endpoint that becomes another kind, or its stand-in, needs next; None where `found` is neither."""
    bare = names.bare(name)
    if name == bare and found is not None and not (moves(found, app.settings) or found.tags.get(names.LOOK_TAG)):
        return None
    pair = Pair(
        bare,
        endpoint=found if name == bare else app.aws.endpoint(bare),
        stand_in=found if name != bare else app.aws.endpoint(names.stand_in(bare)),
    )
    one = pair.stand_in or pair.endpoint
    if one is None or one.tags.get(STACK_TAG) != app.settings.stack_name or DATASET_TAG not in one.tags:
        return None
    now = app.aws.now()
    if pair.stand_in is not None and asks(pair, app.settings):
        first = check_endpoint(pair.stand_in, app.settings)
        if isinstance(first, MakeComponent):
            made = app.aws.apply(first)
            pair = replace(pair, stand_in=app.aws.endpoint(pair.stand_in.name))
            first = check_endpoint(pair.stand_in, app.settings) if pair.stand_in else first
            if first is not None:
                return made
        if first is None and pair.stand_in is not None:
            pair = replace(pair, prediction=_tried(app, pair.stand_in)[1])
        if pair.endpoint is not None and pair.endpoint.kind is HostingKind.ASYNCHRONOUS:
            pair = replace(pair, waiting=app.aws.waiting(pair.endpoint))
    elif pair.stand_in is not None:
        pair = replace(pair, calls=app.aws.calls(pair.stand_in, now - QUIET))
    elif begins(pair, app.settings):
        pair = replace(pair, quotas=app.aws.quotas())
    decision = plan_move(pair, app.settings, now)
    if decision is not None:
        try:
            return app.aws.apply(decision)
        except AwsError as error:
            refused = not_begun(pair, decision, error, app.settings, now)
            if refused is None:
                raise
            return app.aws.apply(refused)
    return None if name == bare else Skip(f"{name} stands in for {bare} as long as that is called.")


def _configure_challenger(app: App, endpoint: Endpoint, challenger: Endpoint) -> Decision:
    """What a model gets that stands beside the live one: scaling and alarms of its own, and then its share."""
    _, prediction = _tried(app, challenger)
    if isinstance(prediction, Unasked):
        return Skip(f"The challenger of {endpoint.name} was not judged: {prediction.why}.")
    share = plan_share(endpoint, prediction, app.settings)
    if isinstance(share, EndAbTest):
        return app.aws.apply(share)
    done = app.aws.apply(for_challenger(plan_autoscaling(challenger, prediction, app.settings)))
    return done if share is None else app.aws.apply(share)


def _tried(app: App, endpoint: Endpoint) -> tuple[ModelCard | None, Prediction | Unasked]:
    """What is kept beside the model, and what came of asking for the prediction in it."""
    card = app.aws.stored_card(endpoint.tags[DATASET_TAG], endpoint.model_name or "")
    if card is None:
        return None, Prediction(False, "its model has no card")
    return card, app.aws.smoke_test(endpoint, card.sample_json)


def check_canary(app: App, changed: EndpointChanged) -> Decision:
    endpoint = app.aws.endpoint(changed.endpoint_name)
    skip = skip_update(endpoint, changed.endpoint_name, app.settings)
    if skip is not None or endpoint is None or endpoint.pending_config is None:
        return skip or Skip(f"{changed.endpoint_name} is gone.")
    new = endpoint.pending_config  # its model is named like it
    card = app.aws.stored_card(endpoint.tags[DATASET_TAG], new)
    if card is None:
        return Skip(f"{endpoint.name} is being updated to {new}, which has no card to be held against.")
    prediction = app.aws.smoke_test_update(endpoint, new, card.sample_json)
    return app.aws.apply(check_update(endpoint, new, prediction))
