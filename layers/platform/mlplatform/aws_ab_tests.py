"""A second model beside the live one: a part of Aws (aws.py)."""

from __future__ import annotations

from mlplatform import names
from mlplatform.aws_calls import is_in_progress, is_there
from mlplatform.aws_cards import CardCalls
from mlplatform.aws_updates import UpdateCalls
from mlplatform.decisions import Decision, EndAbTest, Refuse, ShareTraffic, Skip, StartAbTest
from mlplatform.errors import AwsError
from mlplatform.waiting import refused_by


class AbTestCalls(CardCalls, UpdateCalls):
    """Mixed into Aws."""

    def _start_ab_test(self, decision: StartAbTest) -> StartAbTest | Refuse:
        """The tag before the update: it is what a busy endpoint is updated for when it is free."""
        name = decision.endpoint["EndpointName"]
        self._put_card(decision.dataset, decision.job_name, decision.card)
        self._create_model(decision.model)
        self._unless(is_there, "sagemaker", "create_endpoint_config", **decision.endpoint_config)
        self._tag_endpoint(name, decision.endpoint_tags)
        try:
            self._change_variants(decision.endpoint, decision.endpoint["EndpointConfigName"], None)
        except AwsError as error:
            refusal = refused_by(error)
            if refusal is None:
                raise
            self._tag_endpoint(name, {names.CHALLENGER_TAG: ""})
            return refusal
        self._announce(decision)
        return decision

    def _share_traffic(self, decision: ShareTraffic) -> Decision:
        if decision.endpoint_tags:
            self._tag_endpoint(decision.endpoint_name, decision.endpoint_tags)
        if decision.capacity is not None and not self._unless(
            is_in_progress, "sagemaker", "update_endpoint_weights_and_capacities", **decision.capacity
        ):
            return Skip(f"{decision.endpoint_name} is being updated; its challenger gets its share after that.")
        self._announce(decision)
        return decision

    def _end_ab_test(self, decision: EndAbTest) -> EndAbTest:
        self._tag_endpoint(decision.endpoint_name, decision.endpoint_tags)
        if decision.endpoint is not None:
            self._change_variants(decision.endpoint, decision.model, decision.deregister)
        self._announce(decision)
        return decision
