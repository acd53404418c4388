"""Endpoints become another kind, in place or by a stand-in: a part of Aws (aws.py)."""

from __future__ import annotations

from mlplatform import names
from mlplatform.aws_calls import is_in_progress, is_there
from mlplatform.aws_endpoints import EndpointCalls
from mlplatform.decisions import (
    AbandonMove,
    ChangeInPlace,
    Decision,
    Notify,
    RetireStandIn,
    Skip,
    StartMove,
    SwitchOver,
)

_GONE_ATTEMPTS = 40  # a second each


class MoveCalls(EndpointCalls):
    """Mixed into Aws."""

    def _change_in_place(self, decision: ChangeInPlace) -> Decision:
        self._tell_once(decision)
        self._unless(is_there, "sagemaker", "create_endpoint_config", **decision.endpoint_config)
        name = decision.endpoint_name
        if not self._unless(is_in_progress, "sagemaker", "update_endpoint", **decision.endpoint):
            return Skip(f"{name} is being updated; the end of that will bring it here again.")
        at = self.now().isoformat(timespec="seconds")
        self._tag_endpoint(name, {**decision.endpoint_tags, names.ASKED_TAG: decision.model, names.ASKED_AT_TAG: at})
        return decision

    def _start_move(self, decision: StartMove) -> Decision:
        name = decision.endpoint["EndpointName"]
        if self._found("sagemaker", "describe_endpoint", EndpointName=name) is not None:
            return Skip(f"{name} is there already.")
        self._tell_once(decision)
        self._make_stand_in(decision)
        return decision

    def _make_stand_in(self, decision: StartMove) -> None:
        """The tag first: by it the next tick finds what was only begun."""
        self._tag_endpoint(decision.endpoint_name, decision.endpoint_tags)
        self._unless(is_there, "sagemaker", "create_endpoint_config", **decision.endpoint_config)
        self._create_endpoint(decision.endpoint)

    def _switch_over(self, decision: SwitchOver) -> Decision:
        """As quickly as AWS lets it: calls fail until this is over. An event or a tick finishes what takes longer."""
        name = decision.endpoint_name
        if decision.deletes:
            self._notify(Notify(decision.reason, f"Endpoint {name} moves", decision.once, routine=True))
            self._delete_endpoint(name, has_component=decision.has_component)
        for _ in range(_GONE_ATTEMPTS):
            if self._found("sagemaker", "describe_endpoint", EndpointName=name) is None:
                self._create_endpoint(decision.endpoint)
                return decision
            self._sleep(1.0)
        return decision

    def _retire_stand_in(self, decision: RetireStandIn) -> RetireStandIn:
        self._tell_once(decision)
        self._delete_endpoint(decision.endpoint_name, has_component=decision.has_component)
        return decision

    def _abandon_move(self, decision: AbandonMove) -> Decision:
        """People and the endpoint's tags first: what is tried again begins with the stand-in, which goes last."""
        done: Decision = decision
        if decision.once:
            subject = f"Endpoint {decision.endpoint_name} stays as it is"
            done = self._notify(Notify(decision.reason, subject, decision.once))
        if decision.endpoint_tags:
            self._tag_endpoint(decision.endpoint_name, decision.endpoint_tags)
        if decision.stand_in:
            self._delete_endpoint(decision.stand_in, has_component=decision.has_component)
        return decision if isinstance(done, Notify) else done
