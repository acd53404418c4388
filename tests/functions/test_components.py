"""An inference component that failed is made anew; one that is being changed is left until that is over. On moto."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from deployed_endpoint import ENDPOINT, deploy

from builders import JOB, LIVE_JOB, Account
from mlplatform import kinds, names, sleeping
from mlplatform.autoscaling import check_endpoint
from mlplatform.decisions import EndResource, MakeComponent, Notify, RetireStandIn
from mlplatform.errors import AwsError, TryAgain
from mlplatform.facts import HostingKind

TAGS = {names.HOSTING_TAG: "kind=scale-to-zero", names.KIND_TAG: "scale-to-zero"}
INVALID = "ValidationException"


@dataclass
class Component:
    """SageMaker's, which moto lacks: one of the endpoint's name, with the status and refusals that it has on AWS."""

    account: Account
    status: str = "InService"
    model: str = LIVE_JOB
    there: bool = True
    refuses: str = ""  # the state by which it refuses to be deleted, although its status does not say so

    def __post_init__(self) -> None:
        self.account.answers |= {
            "describe_inference_component": self.describe,
            "delete_inference_component": self.delete,
            "create_inference_component": self.create,
            "deregister_scalable_target": {},  # of a component, which moto does not know to scale
        }

    def describe(self, _: Mapping[str, Any]) -> dict[str, Any]:
        if not self.there:
            raise AwsError("sagemaker", "describe_inference_component", INVALID, "Could not find it")
        return {
            "InferenceComponentStatus": self.status,
            "InferenceComponentArn": "arn:component",
            "Specification": {"ModelName": self.model},
            "RuntimeConfig": {"CurrentCopyCount": int(self.status == "InService")},
        }

    def delete(self, _: Mapping[str, Any]) -> dict[str, Any]:
        if self.refuses:
            said = f'Cannot delete inference component "arn:component" while it is in state {self.refuses}'
            raise AwsError("sagemaker", "delete_inference_component", INVALID, said)
        self.there = False
        return {}

    def create(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert not self.there, "it has to be gone before another has its name"
        self.there, self.model = True, request["Specification"]["ModelName"]
        return {"InferenceComponentArn": "arn:component"}


def sleeper(account: Account, **tags: str) -> Any:
    """The endpoint's facts, as a component's."""
    deploy(account, tags={**TAGS, **tags})
    config = account.client("sagemaker").describe_endpoint_config(EndpointConfigName=JOB)
    variant = {key: value for key, value in config["ProductionVariants"][0].items() if key != "ModelName"}
    account.answers["describe_endpoint_config"] = config | {"ProductionVariants": [variant]}
    return facts(account)


def facts(account: Account) -> Any:
    found = account.app().aws.endpoint(ENDPOINT)
    assert found is not None
    assert found.kind is HostingKind.SCALE_TO_ZERO
    return found


def test_one_that_failed_is_made_anew_with_the_next_model_and_once(account: Account) -> None:
    component = Component(account, status="Failed")
    endpoint = sleeper(account, **{names.WANTED_TAG: JOB, names.ASKED_TAG: LIVE_JOB})
    decision = check_endpoint(endpoint, account.settings)
    assert isinstance(decision, MakeComponent)
    account.app().aws.apply(decision)
    assert component.model == JOB
    assert isinstance(check_endpoint(facts(account), account.settings), Notify), "it failed again, and is told"


def test_who_deploys_to_one_that_failed_has_it_made_anew_with_the_same_model_too(account: Account) -> None:
    Component(account, status="Failed", model=JOB)
    endpoint = sleeper(account, **{names.WANTED_TAG: JOB, names.ASKED_TAG: JOB})
    assert isinstance(check_endpoint(endpoint, account.settings), Notify)
    wanted = kinds.hosting(endpoint.tags, account.settings, endpoint)
    account.app().aws._update_component(sleeping.component_update(endpoint, JOB, wanted))
    assert isinstance(check_endpoint(facts(account), account.settings), MakeComponent)


@pytest.mark.parametrize(
    ("status", "refuses", "deregistered"),
    [("Creating", "", 0), ("Updating", "", 0), ("InService", "UPDATE_RC_IN_PROGRESS", 1)],
)
def test_one_that_is_being_changed_goes_after_that_and_its_endpoint_with_it(
    account: Account, status: str, refuses: str, deregistered: int
) -> None:
    component = Component(account, status=status, refuses=refuses)
    sleeper(account)
    retire = RetireStandIn("Nobody calls it.", ENDPOINT, has_component=True, once="notices/retired.json")
    with pytest.raises(TryAgain):
        account.app().aws.apply(retire)
    assert len(account.called("deregister_scalable_target")) == deregistered
    assert component.there
    component.status, component.refuses = "InService", ""
    account.app().aws.apply(retire)
    assert not component.there
    assert len(account.called("delete_endpoint")) == 1


def test_a_teardown_leaves_one_that_is_being_changed_to_its_next_pass(account: Account) -> None:
    component = Component(account, refuses="CREATE_IN_PROGRESS")
    end = EndResource("It goes.", "inference-component", ENDPOINT)
    account.app().aws.apply(end)
    component.refuses = "no such state"
    with pytest.raises(AwsError):
        account.app().aws.apply(end)
