"""An endpoint is in service: it runs what it should, answers as it should, and scales; or people hear why not.

What that takes is in mlplatform/endpoint_steps.py, since the tick of office hours does it as well. While an endpoint is
updated, the new model is asked before all the traffic is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform import events
from mlplatform.app import App, live_app
from mlplatform.autoscaling import check_update, skip_update
from mlplatform.decisions import Decision, Skip
from mlplatform.endpoint_steps import next_step
from mlplatform.facts import DATASET_TAG, EndpointChanged
from mlplatform.observability import decided, observed


@observed
def handler(event: Mapping[str, Any], _context: object) -> dict[str, str]:
    """SageMaker's "Endpoint State Change", and its "Endpoint Deployment State Change" while an update is watched."""
    if events.is_deployment_change(event):
        return decided(check_canary(live_app(), events.endpoint_changed(event)))
    return decided(configure_autoscaling(live_app(), events.endpoint_changed(event)))


def configure_autoscaling(app: App, changed: EndpointChanged) -> Decision:
    return next_step(app, changed.endpoint_name)


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
