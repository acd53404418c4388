"""What an endpoint needs next: for the event that tells of it, and for the tick that makes a lost event good.

Read, planned and applied. It runs what it should, answers as it should, and scales; or people hear why not. One that
was parked gets back what it had, instead of what a new one gets.
"""

from __future__ import annotations

from dataclasses import replace

from mlplatform import names
from mlplatform.app import App
from mlplatform.autoscaling import check_endpoint, plan_autoscaling, seen, told_elsewhere
from mlplatform.decisions import Decision, EndAbTest, FinishDeployment, MakeComponent, Notify, Skip
from mlplatform.errors import AwsError
from mlplatform.experiments import as_challenger, for_challenger, plan_share, plan_variants
from mlplatform.facts import DATASET_TAG, STACK_TAG, Endpoint, HostingKind, ModelCard, Prediction, Unasked
from mlplatform.moving import QUIET, Pair, asks, begins, moves, not_begun, plan_move
from mlplatform.restoring import plan_capacity, plan_restore


def next_step(app: App, name: str) -> Decision:
    endpoint = app.aws.endpoint(name)
    moved = _move(app, name, endpoint)
    if moved is not None:
        return moved
    if endpoint is None:
        return Skip(f"There is no endpoint {name} any more.")
    first = check_endpoint(endpoint, app.settings)
    if isinstance(first, MakeComponent):
        made = app.aws.apply(first)
        endpoint = app.aws.endpoint(name) or endpoint
        first = check_endpoint(endpoint, app.settings)
        if first is not None:
            return made
    if endpoint.status != "InService" or isinstance(first, Skip | FinishDeployment):
        return _told(app, endpoint, first) if first else Skip(f"{endpoint.name} is {endpoint.status}.")
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
    planned = plan_autoscaling(endpoint, prediction, app.settings, app.aws.scaling_bounds(endpoint))
    done = _told(app, endpoint, planned)
    told = done if failed is None or isinstance(failed, Skip) else failed
    challenger = as_challenger(endpoint)
    if challenger is None:
        return told
    tried = _configure_challenger(app, endpoint, challenger)
    return told if isinstance(tried, Skip) else tried


def _told(app: App, endpoint: Endpoint, decision: Decision) -> Decision:
    """Applies it. Once people have heard what is wrong with an endpoint, no tick needs to find that out anew."""
    done = app.aws.apply(decision)
    was_seen = seen(endpoint) if isinstance(decision, Notify) else None
    if was_seen is not None:
        app.aws.apply(was_seen)
    return done


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
