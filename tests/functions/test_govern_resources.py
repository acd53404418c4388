"""What others left without tags, from the lists of the account and CloudTrail to one message. On moto."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from builders import NOON, Account
from govern_resources import report_untagged, untagged
from mlplatform.decisions import ReportUntagged, Skip
from mlplatform.errors import AwsError
from mlplatform.names import REQUIRED_TAGS

ARN = "arn:aws:sagemaker:us-east-1:123456789012"
NOW = NOON + timedelta(days=3)
LISTS = {
    "list_notebook_instances": ("NotebookInstances", "NotebookInstance"),
    "list_training_jobs": ("TrainingJobSummaries", "TrainingJob"),
    "list_processing_jobs": ("ProcessingJobSummaries", "ProcessingJob"),
    "list_transform_jobs": ("TransformJobSummaries", "TransformJob"),
    "list_endpoints": ("Endpoints", "Endpoint"),
}


@pytest.fixture
def empty(account: Account) -> Account:
    """Nothing is there but what a test says."""
    for operation, (member, _) in LISTS.items():
        account.answers[operation] = {member: []}
    account.answers["list_buckets"] = {"Buckets": []}
    account.answers["get_resources"] = {"ResourceTagMappingList": []}
    account.answers["lookup_events"] = {"Events": []}
    return account


def there(account: Account, operation: str, kind: str, *names: str) -> None:
    member, label = LISTS[operation]
    account.answers[operation] = {
        member: [
            {f"{label}Name": name, f"{label}Arn": f"{ARN}:{kind}/{name}", "CreationTime": NOON, "EndpointStatus": "x"}
            for name in names
        ]
    }


def made(member: str, name: str, user: str, **more: Any) -> dict[str, str]:
    identity = {"type": "IAMUser", "userName": user}
    record = {"userIdentity": identity, "requestParameters": {member: name}, **more}
    return {"CloudTrailEvent": json.dumps(record)}


def test_each_kind_is_found_its_tags_are_read_in_pages_and_its_maker_is_asked_for(empty: Account) -> None:
    there(empty, "list_notebook_instances", "notebook-instance", "lab", "tagged")
    there(empty, "list_transform_jobs", "transform-job", "scores")
    empty.answers["list_buckets"] = {"Buckets": [{"Name": name, "CreationDate": NOON} for name in ("things", "more")]}
    tags = [{"Key": key, "Value": "x"} for key in REQUIRED_TAGS]
    one = {"ResourceTagMappingList": [{"ResourceARN": f"{ARN}:notebook-instance/tagged", "Tags": tags}]}
    empty.answers["get_resources"] = lambda asked: (
        one if "PaginationToken" in asked else {"ResourceTagMappingList": [], "PaginationToken": "more"}
    )

    def lookup(parameters: Mapping[str, Any]) -> dict[str, Any]:
        [wanted] = parameters["LookupAttributes"]
        assert parameters["StartTime"] < NOON < parameters["EndTime"]
        # A bucket's date is that of its last change: it may have been made long before.
        assert (parameters["StartTime"] == NOW - timedelta(days=90)) is (wanted["AttributeValue"] == "CreateBucket")
        events = {
            "CreateNotebookInstance": [
                made("notebookInstanceName", "another", "mallory"),
                made("notebookInstanceName", "lab", "mallory", errorCode="ValidationException"),
                made("notebookInstanceName", "lab", "alice"),
            ],
            "CreateBucket": [made("bucketName", "things", "bob"), made("bucketName", "more", "carol")],
        }
        found = events.get(wanted["AttributeValue"], [])
        if wanted["AttributeValue"] == "CreateBucket" and "NextToken" not in parameters:
            return {"Events": [made("bucketName", "others", "mallory")], "NextToken": "more"}
        return {"Events": found}

    empty.answers["lookup_events"] = lookup
    told = untagged(empty.app(), NOW)
    said = {one.reason.split(" lacks ")[0]: one.reason for one in told}
    assert set(said) == {
        "The notebook instance lab",
        "The transform job scores",
        "The bucket things",
        "The bucket more",
    }
    assert "alice made it" in said["The notebook instance lab"]
    assert "bob made it, and so" in said["The bucket things"]
    assert "carol made it, and so" in said["The bucket more"]
    assert "arn:aws:s3:::things --tags" in said["The bucket things"]
    assert "does not say by whom" in said["The transform job scores"]
    assert len(empty.called("lookup_events")) == 4  # one for each time, and two pages for the buckets


def test_cloudtrail_is_asked_about_twenty_at_most_and_about_nothing_that_it_has_forgotten(empty: Account) -> None:
    there(empty, "list_endpoints", "endpoint", *(f"demo-{number}" for number in range(25)))
    for number, one in enumerate(empty.answers["list_endpoints"]["Endpoints"]):
        one["CreationTime"] = NOON - timedelta(minutes=number)
    told = untagged(empty.app(), NOW)
    assert len(told) == 25
    assert len(empty.called("lookup_events")) == 20
    empty.calls.clear()
    assert len(untagged(empty.app(), NOON + timedelta(days=91))) == 25
    assert empty.called("lookup_events") == []


@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException"])
def test_that_cloudtrail_does_not_answer_is_said_and_no_error(empty: Account, code: str) -> None:
    there(empty, "list_endpoints", "endpoint", "one", "two")

    def refuse(_: Mapping[str, Any]) -> None:
        raise AwsError("cloudtrail", "LookupEvents", code, "with an explicit deny")

    empty.answers["lookup_events"] = refuse
    told = untagged(empty.app(), NOW)
    assert [type(one) for one in told] == [ReportUntagged, ReportUntagged]
    assert all(f"CloudTrail refuses to say ({code})" in one.reason for one in told)
    assert len(empty.called("lookup_events")) == 1


def test_what_others_left_is_told_once_and_never_touched(empty: Account) -> None:
    there(empty, "list_endpoints", "endpoint", "demo")
    first, second = (report_untagged(empty.app(), NOW) for _ in range(2))
    assert [type(one).__name__ for one in first] == ["ReportUntagged", "Notify"]
    assert [type(one).__name__ for one in second] == ["ReportUntagged", "Skip"]
    [alert] = empty.alerts()
    assert alert["Subject"] == "1 things without required tags"
    changed = [name for name, _ in empty.calls if name.startswith(("delete", "add", "put_bucket", "tag", "stop"))]
    assert changed == []


def test_a_list_that_is_refused_does_not_keep_the_platform_from_its_own(empty: Account) -> None:
    def refuse(_: Mapping[str, Any]) -> None:
        raise AwsError("s3", "ListBuckets", "AccessDenied", "by a service control policy")

    empty.answers["list_buckets"] = refuse
    [said] = untagged(empty.app(), NOW)
    assert isinstance(said, Skip)
    assert "ListBuckets failed with AccessDenied" in said.reason
