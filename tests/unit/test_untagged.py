"""Who lacks tags among what others made, whose it may be, and what people read about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mlplatform import names
from mlplatform.decisions import Skip
from mlplatform.facts import STACK_TAG, Maker, Makers, Other
from mlplatform.untagged import lacking, maker, plan_untagged, report

NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)
COMPLETE = dict.fromkeys(names.REQUIRED_TAGS, "something")


def other(name: str = "demo", days: float = 4, **more: Any) -> Other:
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{name}"
    given: dict[str, Any] = {"arn": arn, "created": NOW - timedelta(days=days), **more}
    return Other("endpoint", name, **given)


# ------------------------------------------------------------------------------------------------------ who lacks tags
@pytest.mark.parametrize(
    ("thing", "told"),
    [
        (other(), True),
        (other(tags={"Project": "x", "Environment": "dev", "CostCenter": "1"}), True),
        (other(tags=COMPLETE), False),
        (other(tags={STACK_TAG: "shop"}), False),  # the stack's own are tagged, not told
        (other(tags={STACK_TAG: "another"}), True),
        (other(tags={names.KEEP_TAG: "always"}), False),
        (other(days=0.03), False),  # its tags may not be known yet
    ],
)
def test_what_lacks_a_required_tag_is_told_unless_it_is_ours_kept_or_very_new(thing: Other, told: bool) -> None:
    assert lacking([thing], "shop", NOW) == ((thing,) if told else ())


def test_the_newest_come_first_because_their_makers_still_know() -> None:
    assert [one.name for one in lacking([other("old", 80), other("new", 1)], "shop", NOW)] == ["new", "old"]


# ---------------------------------------------------------------------------------------------------------- who made it
def assumed(role: str, session: str, **context: Any) -> dict[str, Any]:
    return {
        "type": "AssumedRole",
        "principalId": f"AROAEXAMPLE:{session}",
        "sessionContext": {"sessionIssuer": {"type": "Role", "userName": role}, **context},
    }


@pytest.mark.parametrize(
    ("identity", "person", "said"),
    [
        ({"type": "IAMUser", "userName": "alice"}, "alice", "alice"),
        (
            {"type": "IAMUser", "userName": "alice", "invokedBy": "cloudformation.amazonaws.com"},
            "alice",  # a service in her name
            "alice",
        ),
        (assumed("AWSReservedSSO_Analyst_0123456789abcdef", "bob"), "bob", "bob"),
        (assumed("admin", "carol@example.com"), "carol@example.com", "carol@example.com"),
        (
            assumed("notebooks", "SageMaker", sourceIdentity="dave"),
            "dave",
            "dave, in the role notebooks",
        ),
        (assumed("ci-deploy", "build-42"), "", "the role ci-deploy in the session build-42"),
        (
            assumed("AWSServiceRoleForSageMakerNotebooks", "SageMaker"),
            "",
            "AWS itself, by its service-linked role AWSServiceRoleForSageMakerNotebooks",
        ),
        ({"type": "Root", "principalId": "123456789012"}, "", "the account's root user"),
        ({"type": "AWSService", "invokedBy": "sagemaker.amazonaws.com"}, "", "sagemaker.amazonaws.com, no person"),
        ({"type": "FederatedUser", "principalId": "123456789012:erin"}, "erin", "erin"),
        (
            {"type": "IdentityCenterUser", "onBehalfOf": {"userId": "544894e8"}},
            "",
            "the Identity Center user 544894e8",
        ),
        ({"type": "AWSAccount", "accountId": "210987654321"}, "", "a caller of type AWSAccount"),
    ],
)
def test_a_caller_is_a_person_or_is_told_as_what_it_is(identity: Mapping[str, Any], person: str, said: str) -> None:
    assert maker({"userIdentity": identity}) == Maker(said, person)


# ------------------------------------------------------------------------------------------------------- what is told
def test_a_person_becomes_the_suggested_owner_in_a_command_that_adds_tags() -> None:
    thing = other(tags={"Project": "x", "Environment": "dev"})
    [told] = plan_untagged([thing], Makers({thing.arn: Maker("alice", "alice")}))
    assert told.reason == (
        "The endpoint demo lacks CostCenter and Owner. alice made it on 2026-11-20, and so may be its owner. To tag "
        f"it: aws resourcegroupstaggingapi tag-resources --resource-arn-list {thing.arn} "
        "--tags CostCenter=VALUE,Owner=alice"
    )


def test_a_buckets_date_is_told_as_that_of_its_last_change() -> None:
    bucket = replace(other(), kind="bucket")
    assert "It was made or changed on 2026-11-20, and" in plan_untagged([bucket], Makers())[0].reason
    named = Makers({bucket.arn: Maker("alice", "alice")})
    assert "alice made it, and so may be its owner." in plan_untagged([bucket], named)[0].reason


@pytest.mark.parametrize(
    ("makers", "words"),
    [
        (Makers(), "It was made on 2026-11-20, and CloudTrail does not say by whom."),
        (Makers({}, "Who made it can't be told."), "Who made it can't be told."),
        (Makers({other().arn: Maker("the account's root user")}), "the account's root user made it on 2026-11-20."),
    ],
)
def test_nobody_is_named_as_the_owner_where_no_person_is_known(makers: Makers, words: str) -> None:
    [told] = plan_untagged([other()], makers)
    assert f"Owner. {words} To tag it" in told.reason
    assert "Owner=SOMEBODY" in told.reason


def test_one_message_a_week_has_ten_of_them_and_says_how_many_there_are() -> None:
    told = plan_untagged([other(f"demo-{number}") for number in range(12)], Makers())
    said = report([*told, Skip("x")], NOW)
    assert said is not None
    assert said.subject == "12 things without required tags"
    assert said.reason.count("To tag it") == 10
    assert "and 2 more; mlp govern has them all" in said.reason
    assert said.once.endswith("-2026-W48.json")
    later = report(told, NOW + timedelta(days=3))
    assert later is not None
    assert later.once == said.once
    fewer, next_week = report(told[:3], NOW), report(told, NOW + timedelta(days=7))
    assert len({said.once, fewer and fewer.once, next_week and next_week.once}) == 3
    assert report([Skip("x")], NOW) is None
