"""SageMaker hosting on the laptop: real processes, SageMaker's states, messages and events."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hosted_account import ENDPOINT, IMAGE, ROLE, Here, artifact, hosted, until
from processes import alive

from laptop import hosting, hosting_process, invocation
from laptop.bill import Bill
from laptop.errors import ServiceError
from mlplatform.capacity import lacks_capacity


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    with hosted(tmp_path) as made:
        yield made


def refusal(work: Callable[[], Any]) -> str:
    with pytest.raises(ServiceError) as refused:
        work()
    assert refused.value.code == "ValidationException"
    return refused.value.message


def test_an_endpoint_answers_from_as_many_processes_as_its_config_says(here: Here) -> None:
    here.endpoint("one", InitialInstanceCount=2)
    assert here.describe()["EndpointStatus"] == "InService"
    status, headers, answer = here.invoke()
    assert status == 200
    assert headers["x-amzn-invoked-production-variant"] == "AllTraffic"
    assert answer["model"] == "weights of one"
    assert answer["pid"] in here.pids()
    assert len(here.pids()) == 2


def test_each_change_of_an_endpoint_is_an_event_as_sagemaker_sends_it(here: Here) -> None:
    here.endpoint("one")
    creating, in_service = here.events.sent
    assert creating["source"] == "aws.sagemaker"
    assert creating["detail-type"] == "SageMaker Endpoint State Change"
    assert creating["detail"]["EndpointStatus"] == "CREATING"
    detail = in_service["detail"]
    assert detail["EndpointStatus"] == "IN_SERVICE"
    assert detail["EndpointConfigName"] == "one"
    assert detail["Tags"] == {"ml-platform:dataset": "cancer"}
    assert detail["ProductionVariants"][0]["CurrentInstanceCount"] == 1
    assert isinstance(detail["CreationTime"], int)
    assert in_service["resources"] == (f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{ENDPOINT}",)
    assert [entry["status"] for entry in here.account.journal.entries()] == ["Creating", "InService"]


def test_what_the_model_refuses_is_a_model_error_with_its_status_and_text(here: Here) -> None:
    here.endpoint("one")
    status, headers, error = here.invoke(b"bad")
    assert (status, headers["x-amzn-errortype"]) == (424, "ModelError")
    assert (error["OriginalStatusCode"], error["OriginalMessage"]) == (400, "row 1 has no columns")
    status, _, error = here.invoke(b"crash")
    assert (status, error["OriginalStatusCode"]) == (424, 500)
    assert error["Message"].startswith('Received server error (500) from primary with message "the model broke".')


def test_an_unknown_endpoint_and_a_body_over_the_limit_are_refused(here: Here) -> None:
    status, headers, error = here.invoke()
    assert (status, headers["x-amzn-errortype"]) == (400, "ValidationError")
    assert error["message"] == f"Endpoint {ENDPOINT} of account 123456789012 not found."
    here.endpoint("one")
    assert here.invoke(b"0" * 6_291_456)[0] == 200
    status, headers, _ = here.invoke(b"0" * 6_291_457)
    assert (status, headers["x-amzn-errortype"]) == (400, "ValidationError")


def test_an_instance_that_dies_is_replaced(here: Here) -> None:
    here.endpoint("one")
    (first,) = here.pids()
    status, _, error = here.invoke(b"die")
    assert (status, error["OriginalStatusCode"]) == (424, 0)
    until(lambda: here.pids() and here.pids() != {first})
    assert here.invoke()[0] == 200


def test_an_instance_that_hangs_is_replaced(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosting, "PING_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(hosting_process, "PING_TIMEOUT_SECONDS", 0.3)
    here.endpoint("one")
    (first,) = here.pids()
    os.killpg(first, signal.SIGSTOP)
    until(lambda: here.pids() and here.pids() != {first})
    assert here.invoke()[0] == 200


def test_a_request_goes_to_another_instance_when_one_is_gone(here: Here) -> None:
    here.endpoint("one", InitialInstanceCount=2)
    gone = min(here.pids())
    os.killpg(gone, signal.SIGKILL)
    until(
        lambda: (
            here.service.endpoints[ENDPOINT].variants[0].fleet[0].process.poll() is not None or gone not in here.pids()
        )
    )
    assert {here.invoke()[0] for _ in range(10)} == {200}


def test_every_instance_is_billed_from_the_moment_it_serves_until_it_has_stopped(here: Here) -> None:
    here.account.bill = bill = Bill(here.account)

    def hours() -> float:
        return float(sum(line.quantity for line in bill.lines()))

    def rate() -> int:
        """How many instances are on the bill: instance-hours per hour of the account."""
        before = hours()
        here.account.clock.advance(3600)
        return round(hours() - before)

    here.endpoint("one", InitialInstanceCount=2)
    assert rate() == 2
    (line,) = {(line.usage_type, line.tags) for line in bill.lines()}
    assert line == ("USE1-Host:ml.c5.large", (("ml-platform:dataset", "cancer"),))
    here.config("two")
    here.call("UpdateEndpoint", EndpointName=ENDPOINT, EndpointConfigName="two")
    here.settled()
    assert rate() == 1
    desired = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 3}]
    here.call("UpdateEndpointWeightsAndCapacities", EndpointName=ENDPOINT, DesiredWeightsAndCapacities=desired)
    here.settled()
    assert rate() == 3
    killed = min(here.pids())
    os.killpg(killed, signal.SIGKILL)
    until(lambda: killed not in here.pids() and len(here.pids()) == 3)
    assert rate() == 3
    here.call("DeleteEndpoint", EndpointName=ENDPOINT)
    until(lambda: ENDPOINT not in here.service.endpoints)
    assert rate() == 0


def test_a_container_that_cannot_load_its_model_fails_the_endpoint_and_leaves_no_process(here: Here) -> None:
    here.config("broken", artifact("broken", program="raise RuntimeError('no torch today')"))
    here.call("CreateEndpoint", EndpointName=ENDPOINT, EndpointConfigName="broken")
    described = here.settled()
    assert described["EndpointStatus"] == "Failed"
    assert described["FailureReason"] == (
        "The primary container for production variant AllTraffic did not pass the ping health check. "
        "Please check CloudWatch logs for this endpoint."
    )
    assert here.invoke()[0] == 400
    logs = here.account.client("logs")
    group = f"/aws/sagemaker/Endpoints/{ENDPOINT}"

    def lines() -> str:
        streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
        assert all(stream["logStreamName"].startswith("AllTraffic/i-") for stream in streams)
        return "".join(
            event["message"]
            for stream in streams
            for event in logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
        )

    until(lambda: logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"] and "no torch today" in lines())
    here.call("DeleteEndpoint", EndpointName=ENDPOINT)


def test_an_update_under_load_fails_no_request_and_ends_with_the_new_model_only(here: Here) -> None:
    here.endpoint("one", InitialInstanceCount=2)
    before = here.pids()
    here.config("two")
    answers: list[tuple[int, str]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            status, _, answer = here.invoke()
            answers.append((status, answer.get("version", str(answer))))

    callers = [threading.Thread(target=ask) for _ in range(4)]
    for caller in callers:
        caller.start()
    time.sleep(0.3)
    here.call("UpdateEndpoint", EndpointName=ENDPOINT, EndpointConfigName="two")
    assert here.describe()["EndpointStatus"] == "Updating"
    assert here.describe()["EndpointConfigName"] == "one"
    described = here.settled()
    time.sleep(0.2)
    stop.set()
    for caller in callers:
        caller.join()
    assert {status for status, _ in answers} == {200}
    versions = [version for _, version in answers]
    assert versions[0] == "one"
    assert versions[-1] == "two"
    assert described["EndpointConfigName"] == "two"
    assert here.invoke()[2]["version"] == "two"
    assert not any(map(psutil.pid_exists, before))


def test_a_request_under_way_ends_before_its_old_instance_does(here: Here) -> None:
    here.endpoint("one")
    here.config("two")
    slow: list[tuple[int, dict[str, str], Any]] = []
    caller = threading.Thread(target=lambda: slow.extend(here.invoke(b"slow") for _ in range(4)))
    caller.start()
    here.call("UpdateEndpoint", EndpointName=ENDPOINT, EndpointConfigName="two")
    caller.join()
    here.settled()
    assert [status for status, _, _ in slow] == [200] * 4


def test_an_update_that_fails_keeps_the_old_config_in_service_and_says_why(here: Here) -> None:
    here.endpoint("one")
    here.config("broken", artifact("broken", program="import nothing_of_the_kind"))
    here.call("UpdateEndpoint", EndpointName=ENDPOINT, EndpointConfigName="broken")
    described = here.settled()
    assert described["EndpointStatus"] == "InService"
    assert described["EndpointConfigName"] == "one"
    assert "did not pass the ping health check" in described["FailureReason"]
    assert here.invoke()[2]["version"] == "one"
    assert here.events.sent[-1]["detail"]["EndpointConfigName"] == "one"


def test_an_update_resets_the_instance_count_unless_it_is_retained(here: Here) -> None:
    here.endpoint("one")
    for name in ("two", "three"):
        here.config(name)
    wanted = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 2}]
    here.call("UpdateEndpointWeightsAndCapacities", EndpointName=ENDPOINT, DesiredWeightsAndCapacities=wanted)
    here.settled()
    assert len(here.pids()) == 2
    here.call("UpdateEndpoint", EndpointName=ENDPOINT, EndpointConfigName="two", RetainAllVariantProperties=True)
    here.settled()
    assert len(here.pids()) == 2
    here.call("UpdateEndpoint", EndpointName=ENDPOINT, EndpointConfigName="three")
    here.settled()
    assert len(here.pids()) == 1


def test_an_endpoint_in_progress_can_be_neither_updated_nor_deleted(here: Here) -> None:
    here.config("one")
    here.call("CreateEndpoint", EndpointName=ENDPOINT, EndpointConfigName="one")
    where = f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{ENDPOINT}"
    expected = f'Cannot update in-progress endpoint "{where}".'
    update = {"EndpointName": ENDPOINT, "EndpointConfigName": "one"}
    assert refusal(lambda: here.call("UpdateEndpoint", **update)) == expected
    assert refusal(lambda: here.call("DeleteEndpoint", EndpointName=ENDPOINT)) == expected
    duplicate = refusal(lambda: here.call("CreateEndpoint", **update))
    assert duplicate == f'Cannot create already existing endpoint "{where}".'
    here.settled()


def test_names_are_created_once_and_only_what_exists_is_found_or_deleted(here: Here) -> None:
    base = "arn:aws:sagemaker:us-east-1:123456789012"
    here.config("one")
    assert refusal(lambda: here.model("one")) == f'Cannot create already existing model "{base}:model/one".'
    variants = [{"VariantName": "AllTraffic", "ModelName": "one", "InstanceType": "ml.c5.large"}]
    create = {"EndpointConfigName": "one", "ProductionVariants": variants}
    assert refusal(lambda: here.call("CreateEndpointConfig", **create)) == (
        f'Cannot create already existing endpoint configuration "{base}:endpoint-config/one".'
    )
    for operation, request, kind in (
        ("DescribeModel", {"ModelName": "nobody"}, "model"),
        ("DeleteModel", {"ModelName": "nobody"}, "model"),
        ("DescribeEndpointConfig", {"EndpointConfigName": "nobody"}, "endpoint configuration"),
        ("DeleteEndpointConfig", {"EndpointConfigName": "nobody"}, "endpoint configuration"),
        ("CreateEndpoint", {"EndpointName": "e", "EndpointConfigName": "nobody"}, "endpoint configuration"),
        ("DescribeEndpoint", {"EndpointName": "nobody"}, "endpoint"),
        ("DeleteEndpoint", {"EndpointName": "nobody"}, "endpoint"),
    ):
        message = refusal(lambda operation=operation, request=request: here.call(operation, **request))
        assert message.startswith(f'Could not find {kind} "{base}:'), operation
        assert message.endswith('/nobody".'), operation


def test_a_config_in_use_is_not_deleted_until_its_endpoint_is(here: Here) -> None:
    here.endpoint("one")
    pids = here.pids()
    assert "Cannot delete endpoint configuration" in refusal(
        lambda: here.call("DeleteEndpointConfig", EndpointConfigName="one")
    )
    here.call("DeleteEndpoint", EndpointName=ENDPOINT)
    assert here.events.sent[-1]["detail"]["EndpointStatus"] == "DELETING"
    until(lambda: here.call("ListEndpoints")["Endpoints"] == [])
    ending = [entry["status"] for entry in here.account.journal.entries() if entry["kind"] == "endpoint"][-2:]
    assert ending == ["Deleting", "Deleted"]  # so that the console does not show it any more
    here.call("DeleteEndpointConfig", EndpointConfigName="one")
    assert here.call("ListEndpointConfigs")["EndpointConfigs"] == []
    assert here.call("ListModels")["Models"][0]["ModelName"] == "one"
    assert not any(map(psutil.pid_exists, pids))


def test_a_model_needs_an_artifact_that_exists_and_the_container_that_the_laptop_runs(here: Here) -> None:
    def create(image: str, uri: str) -> str:
        container = {"Image": image, "ModelDataUrl": uri}
        return refusal(
            lambda: here.call("CreateModel", ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer=container)
        )

    assert create(IMAGE, "s3://artifacts/none.tar.gz") == "Could not find model data at s3://artifacts/none.tar.gz."
    other = "811284229777.dkr.ecr.us-east-1.amazonaws.com/xgboost:1"
    assert "pytorch-inference" in create(other, here.upload("x", b""))


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt"])
def test_an_artifact_that_reaches_outside_its_folder_is_not_unpacked(here: Here, name: str) -> None:
    here.config("evil", artifact("evil", names={name: b"x"}))
    here.call("CreateEndpoint", EndpointName=ENDPOINT, EndpointConfigName="evil")
    described = here.settled()
    assert described["EndpointStatus"] == "Failed"
    assert "would lie outside the model folder" in described["FailureReason"]


def test_closing_leaves_no_process_behind(here: Here) -> None:
    here.endpoint("one", InitialInstanceCount=2)
    pids = here.pids()
    here.service.close()
    assert not any(map(psutil.pid_exists, pids))


def test_a_container_that_does_not_answer_in_time_is_a_model_error(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invocation, "INVOCATION_TIMEOUT_SECONDS", 0.1)
    here.endpoint("one")
    status, headers, error = here.invoke(b"slow")
    assert (status, headers["x-amzn-errortype"]) == (424, "ModelError")
    assert error["Message"].startswith("Your invocation timed out while waiting for a response from container")
    monkeypatch.undo()
    assert here.invoke()[0] == 200


def test_variants_share_the_traffic_by_weight_and_one_can_be_named(here: Here) -> None:
    for name in ("one", "two"):
        here.model(name)
    variants = [
        {"VariantName": name, "ModelName": name, "InstanceType": "ml.c5.large", "InitialVariantWeight": weight}
        for name, weight in (("one", 1.0), ("two", 0.0))
    ]
    here.call("CreateEndpointConfig", EndpointConfigName="both", ProductionVariants=variants)
    here.call("CreateEndpoint", EndpointName=ENDPOINT, EndpointConfigName="both")
    here.settled()
    assert {here.invoke()[2]["version"] for _ in range(20)} == {"one"}
    status, headers, answer = here.invoke(**{"x-amzn-sagemaker-target-variant": "two"})
    assert (status, headers["x-amzn-invoked-production-variant"], answer["version"]) == (200, "two", "two")
    shifted = [{"VariantName": "one", "DesiredWeight": 0.0}, {"VariantName": "two", "DesiredWeight": 1.0}]
    here.call("UpdateEndpointWeightsAndCapacities", EndpointName=ENDPOINT, DesiredWeightsAndCapacities=shifted)
    here.settled()
    assert {here.invoke()[2]["version"] for _ in range(20)} == {"two"}


def test_weights_that_are_all_zero_or_an_unknown_variant_are_refused(here: Here) -> None:
    here.endpoint("one")
    here.model("two")

    def variants(*weights: float) -> list[dict[str, Any]]:
        return [
            {"VariantName": name, "ModelName": name, "InstanceType": "ml.c5.large", "InitialVariantWeight": weight}
            for name, weight in zip(("one", "two"), weights, strict=True)
        ]

    def shift(name: str, weight: float) -> str:
        change = [{"VariantName": name, "DesiredWeight": weight}]
        request = {"EndpointName": ENDPOINT, "DesiredWeightsAndCapacities": change}
        return refusal(lambda: here.call("UpdateEndpointWeightsAndCapacities", **request))

    none = {"EndpointConfigName": "none", "ProductionVariants": variants(0.0, 0.0)}
    zero = "At least one variant must have a weight greater than 0"
    assert refusal(lambda: here.call("CreateEndpointConfig", **none)).startswith(zero)
    assert shift("AllTraffic", 0.0) == f"{zero}: AllTraffic."
    assert "Could not find variant" in shift("nobody", 1.0)
    status, headers, error = here.invoke(**{"x-amzn-sagemaker-target-variant": "nobody"})
    assert (status, headers["x-amzn-errortype"]) == (400, "ValidationError")
    assert error["message"].startswith("Variant nobody not found for Request")
    here.call("CreateEndpointConfig", EndpointConfigName="both", ProductionVariants=variants(0.9, 0.1))
    canary = {
        "Type": "CANARY",
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
        "WaitIntervalInSeconds": 0,
    }
    update = {
        "EndpointName": ENDPOINT,
        "EndpointConfigName": "both",
        "DeploymentConfig": {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": canary}},
    }
    assert "must be at most 50%" in refusal(lambda: here.call("UpdateEndpoint", **update))
    canary["Type"] = "ALL_AT_ONCE"  # which may bring other variants
    here.call("UpdateEndpoint", **update)
    assert [one["VariantName"] for one in here.settled()["ProductionVariants"]] == ["one", "two"]


def test_instances_end_when_the_laptop_is_killed(here: Here) -> None:
    here.endpoint("one")
    (instance,) = here.service.endpoints[ENDPOINT].variants[0].fleet
    starter = """
import sys, time
from pathlib import Path
from laptop.hosting_process import Instance
instance = Instance("e", "v", Path(sys.argv[1]), {"PATH": "/usr/bin:/bin"}, lambda *_: None)
instance.start()
assert instance.wait_healthy(20)
print(instance.process.pid, flush=True)
time.sleep(60)
"""
    killed = subprocess.Popen(
        [sys.executable, "-c", starter, str(instance.model_dir)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(hosting.__file__).parents[1],
    )
    assert killed.stdout is not None
    orphan = int(killed.stdout.readline())
    killed.kill()
    killed.wait()
    until(lambda: not alive(orphan))


NO_MACHINE = {"service": "ec2", "operation": "RunInstances", "error_code": "InsufficientInstanceCapacity"}
POOLS = [{"InstanceType": one, "Priority": n} for n, one in enumerate(("ml.c5.large", "ml.c6i.large"), start=1)]


def pooled(here: Here, name: str) -> None:
    here.model(name)
    production = {"VariantName": "AllTraffic", "ModelName": name, "InitialInstanceCount": 1, "InstancePools": POOLS}
    here.call("CreateEndpointConfig", EndpointConfigName=name, ProductionVariants=[production])


def test_where_there_is_no_machine_of_a_type_the_next_pools_type_serves(here: Here) -> None:
    here.account.faults.order(NO_MACHINE)
    pooled(here, "one")
    here.call("CreateEndpoint", EndpointName=ENDPOINT, EndpointConfigName="one")
    found = here.settled()
    assert found["EndpointStatus"] == "InService"
    pools = found["ProductionVariants"][0]["InstancePools"]
    assert {one["InstanceType"]: one["CurrentInstanceCount"] for one in pools} == {"ml.c5.large": 0, "ml.c6i.large": 1}
    assert here.invoke()[0] == 200


def test_where_no_pool_has_a_machine_the_endpoint_fails_as_sagemaker_says_it(here: Here) -> None:
    here.account.faults.order(NO_MACHINE | {"times": 2})
    pooled(here, "one")
    here.call("CreateEndpoint", EndpointName=ENDPOINT, EndpointConfigName="one")
    found = here.settled()
    assert found["EndpointStatus"] == "Failed"
    assert lacks_capacity(found["FailureReason"])
