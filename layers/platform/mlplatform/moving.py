"""An endpoint becomes another kind of hosting. Pure.

What AWS changes in place (kinds.in_place) is an update. Everything else needs another endpoint, and callers know the
dataset's by its name, `<stack>-<dataset>`, which no other can have meanwhile. So a stand-in of the new kind is made
under another name, names.stand_in, and judged by the model's stored row, before anything happens to the old endpoint.
Then the old one is deleted and made anew, of the new kind and with the same config; from its deletion until it is in
service calls of its name fail, and those of the stand-in are answered. When nobody has called the stand-in for a
quarter of an hour, it goes.

Level, not edge: where a move stands is read from what there is, so that a step that failed or came twice is made good
by the next event or tick. The wish is the hosting tag: of the stand-in, once there is one, else of the endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta

from mlplatform import kinds, names
from mlplatform.decisions import AbandonMove, ChangeInPlace, RetireStandIn, Skip, StartMove, SwitchOver
from mlplatform.deployment import update_request
from mlplatform.errors import AwsError
from mlplatform.facts import DATASET_TAG, Endpoint, Prediction, Unasked
from mlplatform.records import dataclass
from mlplatform.settings import Settings
from mlplatform.stand_ins import MOVE, OF_THE_OLD, start_move

QUIET = timedelta(minutes=15)
Moving = Skip | StartMove | ChangeInPlace | AbandonMove | SwitchOver | RetireStandIn


@dataclass(frozen=True)
class Pair:
    """An endpoint and what stands in for it, as they are."""

    name: str  # of the endpoint, whether there is one
    endpoint: Endpoint | None
    stand_in: Endpoint | None
    # What came of asking the stand-in; None where it was not asked.
    prediction: Prediction | Unasked | None = None
    calls: int | None = None  # of the stand-in within QUIET; None where nobody has looked
    waiting: int = 0  # requests in the endpoint's queue, where it is asynchronous
    quotas: Mapping[str, float] = field(default_factory=dict)  # by name, as far as told, where a move begins


def moves(endpoint: Endpoint, settings: Settings) -> bool:
    """Whether it is to become another kind."""
    return endpoint.kind is not kinds.hosting(endpoint.tags, settings, endpoint).kind


def asks(pair: Pair, settings: Settings) -> bool:
    """Whether the next step depends on what the stand-in answers: not once its work is done."""
    one = pair.stand_in
    if one is None or one.status != "InService" or pair.endpoint is None:
        return False
    return pair.endpoint.dead or moves(pair.endpoint, settings)


def begins(pair: Pair, settings: Settings) -> bool:
    """Whether the next step takes something of the account that it does not have yet."""
    one = pair.endpoint
    return pair.stand_in is None and one is not None and moves(one, settings) and not (one.busy or one.dead)


def plan_move(pair: Pair, settings: Settings, now: datetime) -> Moving | None:
    """The next step; None where there is nothing to move, and the endpoint is treated like any other."""
    endpoint, stand_in = pair.endpoint, pair.stand_in
    if stand_in is None:
        return _begin(pair, endpoint, settings, now) if endpoint is not None else None
    if stand_in.status == "Deleting":
        return Skip(f"{stand_in.name} is being deleted.") if endpoint is None else None
    if endpoint is None or endpoint.dead:
        return _switch(pair, stand_in)
    if endpoint.status == "Deleting":
        return Skip(f"{endpoint.name} is being deleted, to be made anew; {stand_in.name} answers meanwhile.")
    wanted = kinds.hosting(endpoint.tags, settings, endpoint)
    if wanted.kind is not stand_in.kind:
        then = "" if endpoint.kind is wanted.kind else f"; it becomes {wanted.kind.value} after that, at the next tick"
        return _abandon(pair, f"{endpoint.name} is not to be {stand_in.kind.value} any more{then}", tell=False)
    if endpoint.kind is wanted.kind:
        return _retire(pair, endpoint, stand_in, now)
    if endpoint.tags.get(names.WANTED_TAG) != stand_in.tags.get(names.WANTED_TAG):
        return _abandon(pair, f"{stand_in.name} has an older model than {endpoint.name} is to have", tell=False)
    return _switch(pair, stand_in)


def _begin(pair: Pair, endpoint: Endpoint, settings: Settings, now: datetime) -> Moving | None:
    if not moves(endpoint, settings):
        return None
    if endpoint.busy or endpoint.dead:
        return Skip(f"{endpoint.name} is {endpoint.status}; it moves when that is over.")
    model = endpoint.tags.get(names.WANTED_TAG) or endpoint.model_name
    if model is None:
        return Skip(f"{endpoint.name} has no model yet, and moves when it has one.")
    wanted = kinds.hosting(endpoint.tags, settings, endpoint)
    dataset = endpoint.tags[DATASET_TAG]
    tags = names.tags(settings.required_tags, stack=settings.stack_name, dataset=dataset)
    config = kinds.config_request(wanted, model, endpoint.name, tags, settings)
    once = names.notice_key(endpoint.name, f"{now:%Y%m%d}", f"to-{wanted.kind.value}")
    in_place = kinds.in_place(endpoint.kind, wanted.kind)
    if in_place and endpoint.tags.get(names.ASKED_KIND_TAG) == wanted.kind.value:
        return _not_begun(pair, wanted, f"the update failed: {_said(endpoint.failure_reason)}", now)
    forbids = not_allowed(endpoint, wanted, pair.quotas)
    if forbids:
        return _not_begun(pair, wanted, forbids, now)
    if in_place:
        return ChangeInPlace(
            f"{endpoint.name} becomes {wanted.said}, in place: no call is lost. The way back needs a stand-in.",
            endpoint.name,
            config,
            update_request(endpoint, model, wanted, settings),
            model,
            {names.LOOK_TAG: MOVE, names.ASKED_KIND_TAG: wanted.kind.value, **kinds.kind_tag(wanted.kind)},
            once,
        )
    return start_move(endpoint, model, wanted, endpoint.tags, endpoint.tags.get(names.BEFORE_TAG, ""), settings, once)


def not_allowed(endpoint: Endpoint, wanted: kinds.Hosting, quotas: Mapping[str, float]) -> str:
    """A clause that says which quota forbids an endpoint to become another kind; empty where none does."""
    from mlplatform.quotas import lacking, move_needs  # few events are of a move, and they pay for it alone

    said = lacking(move_needs(endpoint, wanted), quotas)
    return (
        f"{said}; ask for more in the Service Quotas console, under Amazon SageMaker, and move it then" if said else ""
    )


def not_begun(pair: Pair, decision: Moving, error: AwsError, settings: Settings, now: datetime) -> AbandonMove | None:
    """What a beginning comes to that SageMaker itself refuses for a quota, or because nothing scales to zero in its
    region; None where the error is no such reason.

    Without the wish that is taken back every tick would try it again.
    """
    if not isinstance(decision, StartMove | ChangeInPlace) or pair.endpoint is None:
        return None
    if not error.limit_reached and not error.no_zero:
        return None
    wanted = kinds.hosting(pair.endpoint.tags, settings, pair.endpoint)
    return _not_begun(pair, wanted, f"SageMaker says: {error.aws_message.rstrip('.')}", now)


def _not_begun(pair: Pair, wanted: kinds.Hosting, why: str, now: datetime) -> AbandonMove:
    return _abandon(pair, why, tell=True, kind=wanted.kind.value, stamp=f"{now:%Y%m%d}-{wanted.kind.value}")


def _switch(pair: Pair, stand_in: Endpoint) -> Moving:
    """The endpoint goes, or is gone, and is made anew, as soon as the stand-in has proven that the new kind works."""
    name, old = pair.name, pair.endpoint
    if old is None:  # it was judged before that was deleted, and is not judged anew: there is nothing to go back to
        return _anew(pair, stand_in)
    if stand_in.dead:
        return _abandon(pair, f"{stand_in.name} failed: {_said(stand_in.failure_reason)}", tell=True)
    component = stand_in.component
    if component is not None and component.status == "Failed":
        return _abandon(pair, f"its inference component failed: {_said(component.failure_reason)}", tell=True)
    if stand_in.status != "InService" or (component is not None and component.status != "InService"):
        return Skip(f"{stand_in.name} is on its way; {name} moves when that is in service.")
    if isinstance(pair.prediction, Prediction) and not pair.prediction.correct:
        return _abandon(pair, f"{stand_in.name} answers wrongly: {pair.prediction.explanation.rstrip('.')}", tell=True)
    if not isinstance(pair.prediction, Prediction):
        why = pair.prediction.why if isinstance(pair.prediction, Unasked) else "it was not asked yet"
        return Skip(f"{stand_in.name} has not proven itself, because {why}; the next tick looks again.")
    if old.busy:
        return Skip(f"{name} is {old.status}; it moves when that is over.")
    if pair.waiting:
        return Skip(
            f"{name} has {pair.waiting} request{'s' if pair.waiting > 1 else ''} in its queue, which would be lost "
            f"with it; it moves when they are answered. What is sent to {stand_in.name} does not hold it up."
        )
    return _anew(pair, stand_in)


def _anew(pair: Pair, stand_in: Endpoint) -> SwitchOver:
    name, old = pair.name, pair.endpoint
    tags = {key: value for key, value in stand_in.tags.items() if key not in OF_THE_OLD}
    failed = old is not None and old.kind is stand_in.kind
    done = f"failed ({_said(old.failure_reason)}) and is tried again" if old is not None and failed else "is made anew"
    return SwitchOver(
        f"{name} {done}, {stand_in.kind.value}, since {stand_in.name} has answered as expected. Until it is in service "
        f"calls of {name} fail; {stand_in.name} answers.",
        name,
        once=_once(name, stand_in, "failed-anew" if failed else "switch"),
        deletes=old is not None,
        has_component=old is not None and old.component is not None,
        endpoint={
            "EndpointName": name,
            "EndpointConfigName": stand_in.config_name or "",
            "Tags": names.tag_list(tags),
        },
    )


def _retire(pair: Pair, endpoint: Endpoint, stand_in: Endpoint, now: datetime) -> Moving | None:
    """None while the new endpoint is not in service: what is wrong with it is told as of any other."""
    serves = endpoint.component is None or endpoint.component.status == "InService"
    configured = not endpoint.tags.get(names.LOOK_TAG)
    if endpoint.status != "InService" or endpoint.model_name is None or not serves or not configured:
        return None
    since = max(filter(None, (endpoint.created, endpoint.modified)), default=now)
    if now - since < QUIET:
        return None
    if pair.calls is None or pair.calls > 0:
        return None
    return RetireStandIn(
        f"{endpoint.name} is {endpoint.kind.value}, and nobody has called {stand_in.name} for a quarter of an hour: "
        "the stand-in is deleted, and the move is over.",
        stand_in.name,
        has_component=stand_in.component is not None,
        once=_once(endpoint.name, stand_in, "retired"),
    )


def _once(name: str, stand_in: Endpoint, what: str) -> str:
    """Every stand-in is of one move, so that another move is told anew."""
    return names.notice_key(name, f"{stand_in.created:%Y%m%d%H%M%S}" if stand_in.created else "once", what)


def _abandon(pair: Pair, why: str, *, tell: bool, kind: str = "", stamp: str = "") -> AbandonMove:
    """The endpoint stays what it is. What it was to be is forgotten where that is what failed.

    `kind` and `stamp` say what it was to be, and which attempt this is, where no stand-in does.
    """
    endpoint, stand_in = pair.endpoint, pair.stand_in
    of = stand_in or endpoint
    tags: dict[str, str] = {}
    if tell and endpoint is not None:
        before = of.tags.get(names.BEFORE_TAG, "") if of else ""
        tags = {
            names.HOSTING_TAG: before or f"kind={endpoint.kind.value}",
            names.LOOK_TAG: "",
            names.ASKED_KIND_TAG: "",
            **kinds.kind_tag(endpoint.kind),
            **({names.WANTED_TAG: endpoint.model_name} if endpoint.model_name else {}),
        }
    stays = (
        f"{pair.name} stays {endpoint.kind.value} and serves {endpoint.model_name} as before"
        if endpoint is not None
        else f"{pair.name} does not exist any more"
    )
    if stand_in is not None:
        kind = stand_in.kind.value
        stamp = f"{stand_in.created:%Y%m%d%H%M%S}" if stand_in.created else "once"
    return AbandonMove(
        f"{pair.name} could not become {kind}: {why}. {stays}." if tell else f"The stand-in goes: {why}.",
        pair.name,
        stand_in=stand_in.name if stand_in else "",
        has_component=stand_in is not None and stand_in.component is not None,
        endpoint_tags=tags,
        once=names.notice_key(pair.name, stamp, "move") if tell else "",
    )


def _said(reason: str | None) -> str:
    return (reason or "SageMaker gave no reason").rstrip(".")
