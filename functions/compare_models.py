"""A person starts, changes or ends an A/B test: a second model beside the live one, with a share of the traffic.

What needs the endpoint in service is done by configure-autoscaling when it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlplatform import events, registry
from mlplatform.app import App, live_app
from mlplatform.decisions import Decision
from mlplatform.experiments import Place, plan_ab_test
from mlplatform.facts import AbTestAsked
from mlplatform.observability import decided, observed


@observed
def handler(event: Mapping[str, Any], _context: object) -> dict[str, str]:
    """`mlp ab` invokes it, and waits for the answer."""
    return decided(compare_models(live_app(), events.ab_test_asked(event)))


def compare_models(app: App, asked: AbTestAsked) -> Decision:
    place = _place(app, asked.dataset)
    package = app.aws.model_package(asked.package) if asked.package else None
    card = None
    if package is not None:
        stored = app.aws.stored_card(asked.dataset, registry.model_name(package))
        card = stored or app.aws.artifact_card(package.artifact_uri)
    return app.aws.apply(plan_ab_test(asked, place, package, card, app.settings))


def _place(app: App, dataset: str) -> Place:
    serving = app.aws.serving(dataset)
    variant = app.aws.live_variant(serving.endpoint) if serving is not None else {}
    return Place(app.aws.now(), serving, variant, app.aws.quotas())
