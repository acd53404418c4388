"""Cost allocation tags: activated as soon as billing knows them, and never a reason to fail the stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

import activate_cost_tags
from activate_cost_tags import at_deployment
from builders import Account
from mlplatform import custom_resource
from mlplatform.cost_tags import DONE_KEY, KEYS, REFUSED_KEY, plan_cost_tags
from mlplatform.custom_resource import Request
from mlplatform.decisions import ActivateCostTags, Notify, Skip
from mlplatform.errors import AwsError

STACK_ID = "arn:aws:cloudformation:us-east-1:123456789012:stack/ml-platform/51af3dc0-da77-11e4-872e-1234567db123"


def billing(account: Account, active: Mapping[str, bool], errors: tuple[dict[str, str], ...] = ()) -> None:
    """What billing knows of the tags, one to a page, and what it says when they are activated."""

    def page(parameters: Mapping[str, Any]) -> dict[str, Any]:
        wanted = [key for key in active if key in parameters["TagKeys"]]
        at = int(parameters.get("NextToken", 0))
        tags = [{"TagKey": key, "Status": "Active" if active[key] else "Inactive"} for key in wanted[at : at + 1]]
        more = {"NextToken": str(at + 1)} if at + 1 < len(wanted) else {}
        return {"CostAllocationTags": tags, **more}

    account.answers["list_cost_allocation_tags"] = page
    account.answers["update_cost_allocation_tags_status"] = {"Errors": list(errors)}


def refusing(account: Account, code: str, message: str) -> None:
    def refuse(_: Mapping[str, Any]) -> dict[str, Any]:
        raise AwsError("ce", "ListCostAllocationTags", code, message)

    account.answers["list_cost_allocation_tags"] = refuse


def activated(account: Account) -> list[str]:
    requests = account.called("update_cost_allocation_tags_status")
    return [entry["TagKey"] for request in requests for entry in request["CostAllocationTagsStatus"]]


def request(kind: str = "Create") -> Request:
    return Request(kind, "http://127.0.0.1:9/", STACK_ID, "unique-1", "CostTags")


def test_what_billing_knows_is_activated_and_the_rest_looked_at_again(account: Account) -> None:
    billing(account, {"Project": False, "Owner": True, "Environment": False, "Somebodys": False})
    done = activate_cost_tags.activate_cost_tags(account.app())
    assert isinstance(done, ActivateCostTags)
    assert activated(account) == ["Project", "Environment"]
    assert "CostCenter, ml-platform:stack, ml-platform:dataset was billed yet" in done.reason
    assert account.keys(account.settings.artifact_bucket, "notices/") == []


def test_when_all_are_active_nothing_is_asked_any_more(account: Account) -> None:
    billing(account, dict.fromkeys(KEYS, False))
    activate_cost_tags.activate_cost_tags(account.app())
    assert activated(account) == list(KEYS)
    assert account.keys(account.settings.artifact_bucket, "notices/") == [DONE_KEY]
    asked = len(account.called("list_cost_allocation_tags"))
    assert isinstance(activate_cost_tags.activate_cost_tags(account.app()), Skip)
    assert len(account.called("list_cost_allocation_tags")) == asked


def test_an_account_where_nothing_was_billed_has_nothing_to_activate(account: Account) -> None:
    billing(account, {})
    assert isinstance(activate_cost_tags.activate_cost_tags(account.app()), Skip)
    assert activated(account) == []


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("AccessDeniedException", "User is not authorized to perform: ce:ListCostAllocationTags"),
        ("ValidationException", "Linked account doesn't have access to cost allocation tags."),
    ],
)
def test_a_member_account_is_told_once_who_may_do_it_and_how(account: Account, code: str, message: str) -> None:
    refusing(account, code, message)
    done = activate_cost_tags.activate_cost_tags(account.app())
    assert isinstance(done, Notify)
    (alert,) = account.alerts()
    assert alert["Subject"] == "ml-platform: cost allocation tags are not active"
    for said in (message, "only the management account", "TagKey=Project,Status=Active"):
        assert said in alert["Message"]
    assert isinstance(activate_cost_tags.activate_cost_tags(account.app()), Skip)
    assert account.alerts() == []
    assert account.keys(account.settings.artifact_bucket, "notices/") == [REFUSED_KEY]


def test_a_tag_that_is_refused_on_its_own_is_told_too(account: Account) -> None:
    billing(account, {"Project": False}, ({"TagKey": "Project", "Code": "TagKeysNotFound", "Message": "Not found"},))
    done = activate_cost_tags.activate_cost_tags(account.app())
    assert isinstance(done, Notify)
    assert "TagKeysNotFound: Project: Not found" in done.reason


def test_what_passes_by_itself_is_left_to_lambdas_retries(account: Account) -> None:
    refusing(account, "ThrottlingException", "Rate exceeded")
    with pytest.raises(AwsError, match="Rate exceeded"):
        activate_cost_tags.activate_cost_tags(account.app())
    assert account.alerts() == []


@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException", "InternalServerError"])
def test_the_stack_is_made_whatever_becomes_of_its_tags(account: Account, code: str) -> None:
    refusing(account, code, "No.")
    answer = at_deployment(request(), account.app())
    assert answer.succeeded
    assert code in answer.reason


def test_deleting_the_stack_leaves_the_tags_to_others_and_keeps_one_identity(account: Account) -> None:
    billing(account, {"Project": False})
    ids = {at_deployment(request(kind), account.app()).physical_id for kind in ("Create", "Update", "Delete")}
    assert ids == {"ml-platform-CostTags"}
    assert custom_resource.physical_id(request()) in ids
    assert activated(account) == ["Project", "Project"]  # nothing for the Delete


def test_no_more_than_twenty_are_activated_in_one_call(account: Account) -> None:
    keys = tuple(f"key-{number}" for number in range(45))
    billing(account, {})
    account.app().aws.apply(ActivateCostTags("Many.", keys, None))
    sizes = [len(one["CostAllocationTagsStatus"]) for one in account.called("update_cost_allocation_tags_status")]
    assert sizes == [20, 20, 5]
    assert activated(account) == list(keys)


def test_the_plan_names_what_it_waits_for() -> None:
    done = plan_cost_tags(dict.fromkeys(KEYS, True))
    assert (done.reason, done.done_key if isinstance(done, ActivateCostTags) else None) == (
        "All cost allocation tags are active.",
        DONE_KEY,
    )
