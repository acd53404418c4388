"""What is old, orphaned or badly tagged, and what follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import builders
from mlplatform import kinds, names
from mlplatform.decisions import EndEndpoint, EndResource, Skip, TagResource, WarnOfEnd
from mlplatform.facts import DATASET_TAG, STACK_TAG, HostedEndpoint, Owned, OwnedKind, Parked
from mlplatform.governance import Estate, plan_governance, summary

SETTINGS = builders.settings()
NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
STACK = SETTINGS.stack_name
TAGS = {**SETTINGS.required_tags, STACK_TAG: STACK, DATASET_TAG: "flowers"}
CONFIG = f"{STACK}-flowers-0123456789ab-abc12"
ENDPOINT = f"{STACK}-flowers"


def owned(kind: OwnedKind, name: str, days: float = 30, **more: Any) -> Owned:
    given: dict[str, Any] = {"arn": f"arn:{name}", "created": NOW - timedelta(days=days), "tags": TAGS, **more}
    return Owned(kind, name, **given)


def endpoint(status: str | None = "InService", **tags: str) -> HostedEndpoint:
    parked = Parked(ENDPOINT, CONFIG, NOW, {}, ()) if status is None else None
    own = {**TAGS, names.WANTED_TAG: CONFIG, names.ASKED_TAG: CONFIG, **tags}
    return HostedEndpoint(ENDPOINT, status, NOW - timedelta(days=1), own, parked)


def aged(days: float, *, status: str | None = "InService", environment: str = "dev", **tags: str) -> Any:
    """What is decided about an endpoint whose model was deployed so many days ago."""
    settings = replace(SETTINGS, environment=environment)
    required = {**TAGS, **settings.required_tags}
    config = owned(
        "endpoint-config", CONFIG, days, tags={**required, **{key.replace("_", ":", 1): v for key, v in tags.items()}}
    )
    [decision] = plan_governance(Estate((config,), (endpoint(status),)), settings, NOW)
    return decision


# --------------------------------------------------------------------------------------------------------------- age
def test_a_young_endpoint_is_left_alone() -> None:
    assert isinstance(aged(6.9), Skip)


@pytest.mark.parametrize("status", ["InService", None])
def test_an_old_one_gets_a_notice_first_with_the_day_and_how_to_keep_it(status: str | None) -> None:
    decision = aged(7, status=status)
    assert isinstance(decision, WarnOfEnd)
    assert decision.tags == {names.ENDS_TAG: "2026-11-26"}
    assert "ends on Thursday, 2026-11-26" in decision.reason
    assert "mlp keep flowers --days 7" in decision.reason


@pytest.mark.parametrize(
    ("ends", "told", "kind"),
    [
        ("2026-11-25", "", Skip),  # two days to go: people know
        ("2026-11-24", "", WarnOfEnd),  # tomorrow: the final notice
        ("2026-11-24", "2026-11-24", Skip),  # which was told already
        ("2026-11-23", "2026-11-23", EndEndpoint),
        ("2026-11-23", "", WarnOfEnd),  # the run of the eve was missed: nothing ends without the notice
        ("2026-11-22", "2026-11-22", EndEndpoint),  # yesterday's run was missed
        ("2026-11-21", "2026-11-21", WarnOfEnd),  # long over: it was kept meanwhile, and people are told anew
        ("soon", "", WarnOfEnd),  # not a day
    ],
)
def test_then_a_final_notice_and_then_the_end(ends: str, told: str, kind: type) -> None:
    tags = {names.ENDS_TAG: ends, **({names.LAST_WARNING_TAG: told} if told else {})}
    assert isinstance(aged(10, **tags), kind)


def test_the_final_notice_names_tomorrow_and_is_remembered() -> None:
    decision = aged(10, **{names.ENDS_TAG: "2026-11-23"})
    assert decision.reason.startswith(f"Tomorrow, on 2026-11-24, {ENDPOINT} ends")
    assert decision.tags == {names.ENDS_TAG: "2026-11-24", names.LAST_WARNING_TAG: "2026-11-24"}


def test_an_endpoint_that_sleeps_ends_without_being_deleted_again() -> None:
    tags = {names.ENDS_TAG: "2026-11-23", names.LAST_WARNING_TAG: "2026-11-23"}
    decision = aged(10, status=None, **tags)
    assert isinstance(decision, EndEndpoint)
    assert not decision.running


@pytest.mark.parametrize(
    ("keep", "kind"),
    [("always", Skip), ("2026-11-23", Skip), ("2026-11-22", WarnOfEnd), ("please", WarnOfEnd)],
)
def test_who_asks_for_it_keeps_it(keep: str, kind: type) -> None:
    assert isinstance(aged(10, **{"ml-platform:keep": keep}), kind)


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_nothing_ends_by_age_outside_of_dev(environment: str) -> None:
    assert isinstance(aged(1000, environment=environment), Skip)


def test_zero_days_mean_never() -> None:
    settings = replace(SETTINGS, dev_max_age_days=0)
    [decision] = plan_governance(Estate((owned("endpoint-config", CONFIG, 99),), (endpoint(),)), settings, NOW)
    assert isinstance(decision, Skip)


# ----------------------------------------------------------------------------------------------------------- orphans
def ended(*things: Owned, endpoints: tuple[HostedEndpoint, ...] = ()) -> list[str]:
    planned = plan_governance(Estate(things, endpoints), SETTINGS, NOW)
    return [one.name for one in planned if isinstance(one, EndResource)]


@pytest.mark.parametrize(
    ("thing", "gone"),
    [
        (owned("endpoint-config", "shop-old"), True),
        (owned("model", "shop-old"), True),
        (owned("model", CONFIG), False),  # the endpoint runs with it
        (owned("endpoint-config", "shop-old", 0.5), False),  # a deployment may be under way
        (owned("endpoint-config", "shop-old", tags={**TAGS, names.KEEP_TAG: "always"}), False),
        (owned("log-group", "/logs/gone", about="shop-gone"), True),
        (owned("log-group", "/logs/here", about=ENDPOINT), False),
        (owned("scaling-target", "endpoint/gone", about="shop-gone"), True),
        (owned("alarm", "shop-gone-latency", about="shop-gone"), True),
        (owned("alarm", "shop-spend"), False),  # not about an endpoint
        (owned("training-job", "shop-running"), False),
        (owned("parameter", "/shop/slack-webhook", created=None), False),
    ],
)
def test_what_no_endpoint_needs_is_deleted(thing: Owned, gone: bool) -> None:
    assert ended(thing, endpoints=(endpoint(),)) == ([thing.name] if gone else [])


def test_what_an_endpoint_still_runs_with_after_an_update_that_failed_is_kept() -> None:
    live, failed = f"{STACK}-flowers-old", f"{STACK}-flowers-new"
    things = tuple(owned(kind, name) for kind in ("endpoint-config", "model") for name in (live, failed))  # type: ignore[arg-type]
    wanted = endpoint(**{names.WANTED_TAG: failed, names.ASKED_TAG: failed})
    estate = Estate(things, (wanted,), frozenset({live}))
    assert [one for one in plan_governance(estate, SETTINGS, NOW) if isinstance(one, EndResource)] == []


def test_what_a_sleeping_endpoint_comes_back_with_is_kept() -> None:
    things = (owned("endpoint-config", CONFIG, 3), owned("model", CONFIG), owned("log-group", "/logs", about=ENDPOINT))
    assert ended(*things, endpoints=(endpoint(None),)) == []


def test_the_challenger_of_an_a_b_test_is_kept_while_the_endpoint_runs_and_while_it_sleeps() -> None:
    test = names.challenger_tag("shop-flowers-other", 2, 0.1, "2026-11-22T12:00:00+00:00")
    for status in ("InService", None):
        assert ended(owned("model", "shop-flowers-other"), endpoints=(endpoint(status, **test),)) == []
    assert ended(owned("model", "shop-flowers-other"), endpoints=(endpoint(),)) == ["shop-flowers-other"]


def test_of_each_datasets_packages_the_newest_are_kept_and_the_live_one_whatever_its_age() -> None:
    def package(number: int, **more: Any) -> Owned:
        return owned("model-package", f"arn:package/{ENDPOINT}/{number}", 100 - number, about=ENDPOINT, **more)

    live = package(1, description=f"Trained by {CONFIG}.")
    waiting = package(2, state="PendingManualApproval")
    old = [package(3), package(4, state="Approved")]
    newest = [package(number) for number in range(5, 35)]
    assert ended(live, waiting, *old, *newest, endpoints=(endpoint(),)) == [one.name for one in reversed(old)]


# -------------------------------------------------------------------------------------------------------------- tags
def test_a_missing_or_different_required_tag_is_set() -> None:
    thing = owned("model", CONFIG, tags={STACK_TAG: STACK, "Project": "somebody-elses"})
    planned = plan_governance(Estate((thing,), (endpoint(),)), SETTINGS, NOW)
    [decision] = [one for one in planned if isinstance(one, TagResource)]
    assert decision.tags == SETTINGS.required_tags


def test_what_a_run_did_is_told_in_one_message_and_nothing_if_nothing() -> None:
    said = summary([EndResource("No endpoint runs or sleeps with the model a.", "model", "a"), Skip("b")])
    assert said is not None
    assert said.reason == (
        "Tidied up: 1 orphans deleted, 0 things tagged. No endpoint runs or sleeps with the model a."
    )
    assert summary([Skip("b")]) is None


# ------------------------------------------------------------------------------------------------- kinds of hosting
def hosted(kind: str, *, config_days: float, model_days: float) -> list[Any]:
    """What is decided about an endpoint of another kind, its config and its model."""
    wish = {names.HOSTING_TAG: f"kind={kind}", names.KIND_TAG: kind}
    config = kinds.config_name(kinds.hosting(wish, SETTINGS), CONFIG, ENDPOINT)
    estate = Estate(
        (
            owned("endpoint-config", config, config_days, tags={**TAGS, names.ENDS_TAG: "2026-11-23", **LAST}),
            owned("model", CONFIG, model_days),
            owned("alarm", f"{ENDPOINT}-wake", about=ENDPOINT),
            owned("inference-component", ENDPOINT, about=ENDPOINT),
        ),
        (endpoint(**wish),),
        frozenset(),
    )
    return [one for one in plan_governance(estate, SETTINGS, NOW) if not isinstance(one, TagResource)]


LAST = {names.LAST_WARNING_TAG: "2026-11-23"}


@pytest.mark.parametrize("kind", ["serverless", "asynchronous", "scale-to-zero"])
def test_an_endpoint_of_any_kind_ends_by_its_age_and_nothing_that_it_has_is_an_orphan(kind: str) -> None:
    [decision] = hosted(kind, config_days=30, model_days=30)
    assert isinstance(decision, EndEndpoint)
    assert decision.has_component is (kind == "scale-to-zero")


def test_a_new_model_makes_an_endpoint_young_again_whose_config_stays_the_same() -> None:
    [decision] = hosted("scale-to-zero", config_days=30, model_days=1)
    assert isinstance(decision, Skip)
