"""What `mlp doctor` finds. On moto."""

from __future__ import annotations

import pytest
from deployed_endpoint import ENDPOINT, answers, deploy, failed, in_service

import builders
from builders import Account
from cli.doctor import examine
from mlplatform import names
from mlplatform.names import scalable_target


@pytest.fixture
def sound(account: Account) -> Account:
    """An endpoint that has everything."""
    deploy(account)
    in_service(account)
    return account


def found(account: Account) -> list[tuple[str, str]]:
    return [(one.reason, one.mend) for one in examine(account.app())]


def test_an_endpoint_that_has_everything_is_sound(sound: Account) -> None:
    assert found(sound) == []


def test_lost_scaling_and_missing_alarms_are_found_and_mended_by_the_function_whose_work_they_are(
    sound: Account,
) -> None:
    sound.client("application-autoscaling").deregister_scalable_target(**scalable_target(ENDPOINT))
    sound.client("cloudwatch").delete_alarms(AlarmNames=[f"{ENDPOINT}-cpu"])
    assert found(sound) == [
        ("it does not scale: its scaling is not registered.", "configure"),
        (f"its alarm {ENDPOINT}-cpu is missing.", "configure"),
    ]
    in_service(sound)
    assert found(sound) == []


def test_an_update_that_failed_is_for_a_person_and_one_that_never_began_is_not(sound: Account) -> None:
    failed(sound)
    [(reason, mend)] = found(sound)
    assert f"it still serves {builders.JOB}" in reason
    assert mend == ""
    arn = sound.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)["EndpointArn"]
    sound.client("sagemaker").add_tags(ResourceArn=arn, Tags=names.tag_list({names.ASKED_TAG: builders.JOB}))
    [(reason, mend)] = found(sound)
    assert "was busy when" in reason
    assert mend == "configure"
    in_service(sound)
    assert sound.called("update_endpoint")[0]["EndpointConfigName"] == builders.LIVE_JOB


def test_a_model_that_answers_wrongly_hides_nothing_else(sound: Account) -> None:
    sound.client("cloudwatch").delete_alarms(AlarmNames=[f"{ENDPOINT}-errors"])
    answers(sound, {"predictions": ["no"]})
    reasons = [reason for reason, _ in found(sound)]
    assert len(reasons) == 2
    assert "its smoke test failed" in reasons[0]
    assert reasons[1] == f"its alarm {ENDPOINT}-errors is missing."


def test_fewer_instances_than_the_scaling_allows_are_found(sound: Account) -> None:
    sound.client("application-autoscaling").register_scalable_target(
        **scalable_target(ENDPOINT), MinCapacity=2, MaxCapacity=4
    )
    assert found(sound) == [("it has 1 instances, fewer than the 2 that its scaling allows.", "clamp")]
    assert sound.app().aws.clamp(ENDPOINT) == "it goes to 2 to 4 instances"
