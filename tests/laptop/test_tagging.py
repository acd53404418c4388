"""GetResources finds what carries the tags, in pages, whichever part of the account holds it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.server import running
from laptop.tagging import is_of_type

BASE = f"arn:aws:sagemaker:{REGION}:{ACCOUNT_ID}"
STACK = "ml-platform:stack"


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with running() as account:
        for number in range(7):
            account.tags[f"{BASE}:endpoint/e{number}"] = {STACK: "mine" if number < 5 else "theirs", "n": str(number)}
        account.tags[f"{BASE}:endpoint-config/c0"] = {STACK: "mine"}
        account.tags[f"{BASE}:model/untagged"] = {}
        account.client("sqs").create_queue(QueueName="q", tags={STACK: "mine"})
        yield account


def found(account: Account, **filters: Any) -> list[str]:
    pages = account.client("resourcegroupstaggingapi").get_paginator("get_resources").paginate(**filters)
    return [one["ResourceARN"].rsplit(":", 1)[-1] for page in pages for one in page["ResourceTagMappingList"]]


def test_filters_by_tag_and_type_are_all_held() -> None:
    with running() as account:
        account.tags[f"{BASE}:endpoint/a"] = {"k": "1"}
        account.tags[f"{BASE}:endpoint/b"] = {"k": "2", "l": "x"}
        types = ["sagemaker:endpoint"]
        assert found(account, ResourceTypeFilters=types, TagFilters=[{"Key": "k", "Values": ["1", "2"]}]) == [
            "endpoint/a",
            "endpoint/b",
        ]
        both = [{"Key": "k"}, {"Key": "l", "Values": ["x"]}]
        assert found(account, ResourceTypeFilters=types, TagFilters=both) == ["endpoint/b"]


def test_every_resource_is_on_exactly_one_page(account: Account) -> None:
    mine = [{"Key": STACK, "Values": ["mine"]}]
    names = found(account, ResourceTypeFilters=["sagemaker:endpoint"], TagFilters=mine, ResourcesPerPage=2)
    assert names == [f"endpoint/e{number}" for number in range(5)]


def test_an_endpoint_config_is_no_endpoint(account: Account) -> None:
    assert found(account, ResourceTypeFilters=["sagemaker:endpoint-config"]) == ["endpoint-config/c0"]
    assert "endpoint-config/c0" not in found(account, ResourceTypeFilters=["sagemaker:endpoint"])


def test_a_service_alone_means_all_its_types_but_nothing_without_tags(account: Account) -> None:
    names = found(account, ResourceTypeFilters=["sagemaker"])
    assert len(names) == 8
    assert "model/untagged" not in names


def test_other_services_resources_are_found_too(account: Account) -> None:
    names = found(account, TagFilters=[{"Key": STACK, "Values": ["mine"]}])
    assert "q" in names
    assert len(names) == 7


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"ResourcesPerPage": 101}, "InvalidParameterException"),
        ({"PaginationToken": "%%%"}, "PaginationTokenExpiredException"),
        ({"ResourceARNList": [f"{BASE}:endpoint/e0"], "TagFilters": [{"Key": "n"}]}, "InvalidParameterException"),
    ],
)
def test_a_request_that_aws_refuses_is_refused(account: Account, arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as error:
        account.client("resourcegroupstaggingapi").get_resources(**arguments)
    assert error.value.response["Error"]["Code"] == code


@pytest.mark.parametrize(
    ("arn", "wanted", "expected"),
    [
        (f"{BASE}:endpoint/e", "sagemaker:endpoint", True),
        (f"{BASE}:endpoint/e", "sagemaker:end", False),
        ("arn:aws:s3:::data", "s3", True),
        ("arn:aws:s3:::data", "s3:bucket", True),
        ("arn:aws:lambda:us-east-1:1:function:f", "lambda:function", True),
        ("arn:aws:logs:us-east-1:1:log-group:/aws/f", "logs:log-group", True),
        ("not an arn", "s3", False),
    ],
)
def test_the_type_is_read_from_the_arn(arn: str, wanted: str, expected: bool) -> None:
    assert is_of_type(arn, wanted) is expected
