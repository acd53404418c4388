"""What stands in for an endpoint that becomes another kind, see moving.py. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from mlplatform import kinds, names
from mlplatform.decisions import StartMove
from mlplatform.facts import DATASET_TAG, Endpoint, HostingKind
from mlplatform.kinds import Hosting
from mlplatform.settings import Settings

MOVE = "move"  # what names.LOOK_TAG says while one is under way
# Tags of an endpoint that say what was done to it, and not what people or the platform want.
OF_THE_OLD = (
    names.ASKED_AT_TAG,
    names.BOUNDS_TAG,
    names.TAKEN_TAG,
    names.CHALLENGER_TAG,
    names.ASKED_KIND_TAG,
    names.STANDS_IN_TAG,
    names.BEFORE_TAG,
    names.UNCHECKED_TAG,
)


def start_move(
    endpoint: Endpoint,
    model: str,
    wanted: Hosting,
    tags: Mapping[str, str],
    before: str,
    settings: Settings,
    once: str = "",
) -> StartMove:
    """The stand-in, and what the endpoint is tagged with. `tags` are those that the endpoint is to have, `before` the
    hosting that it had."""
    stand_in = names.stand_in(endpoint.name)
    own = names.tags(settings.required_tags, stack=settings.stack_name, dataset=tags[DATASET_TAG])
    made = {key: value for key, value in tags.items() if key not in OF_THE_OLD}
    made |= {
        names.HOSTING_TAG: kinds.tag(tags.get(names.HOSTING_TAG, ""), wanted),
        names.WANTED_TAG: model,
        names.ASKED_TAG: model,
        names.LOOK_TAG: MOVE,
        names.STANDS_IN_TAG: endpoint.name,
        names.BEFORE_TAG: before,
        **kinds.kind_tag(wanted.kind),
    }
    return StartMove(
        f"{endpoint.name} moves from {endpoint.kind.value} to {wanted.said}, which AWS does not do in place. First "
        f"{stand_in} is made and judged; {endpoint.name} answers until then. While it is made anew, calls of its name "
        f"fail, and {how_to_call(stand_in, wanted)} answers.",
        endpoint.name,
        kinds.config_request(wanted, model, endpoint.name, own, settings),
        {
            "EndpointName": stand_in,
            "EndpointConfigName": kinds.config_name(wanted, model, endpoint.name),
            "Tags": names.tag_list(made),
        },
        {names.LOOK_TAG: MOVE},
        once,
    )


def how_to_call(name: str, wanted: Hosting) -> str:
    """A clause: by what an endpoint of that kind is called."""
    if wanted.kind is HostingKind.ASYNCHRONOUS:
        return f"InvokeEndpointAsync on {name}"
    if wanted.kind is HostingKind.SCALE_TO_ZERO:
        return f"InvokeEndpoint on {name} with InferenceComponentName={name}"
    return f"InvokeEndpoint on {name}"
