"""SageMaker's Search over training jobs, tuning jobs and endpoints, made of the operations that describe them.

Source: Search, SearchExpression and Filter in the API reference
(https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_Search.html). AWS's index lags by seconds; this one does
not. What it does not know of, nested filters and sub-expressions, it refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from laptop.account import Account
from laptop.sagemaker_common import as_datetime, invalid, page, write_tags

# Resource -> the List operation, its answer's member, the name's member, the Describe operation, the ARN's member.
_RESOURCES = {
    "TrainingJob": (
        "ListTrainingJobs",
        "TrainingJobSummaries",
        "TrainingJobName",
        "DescribeTrainingJob",
        "TrainingJobArn",
    ),
    "HyperParameterTuningJob": (
        "ListHyperParameterTuningJobs",
        "HyperParameterTuningJobSummaries",
        "HyperParameterTuningJobName",
        "DescribeHyperParameterTuningJob",
        "HyperParameterTuningJobArn",
    ),
    "Endpoint": ("ListEndpoints", "Endpoints", "EndpointName", "DescribeEndpoint", "EndpointArn"),
}
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "Equals": lambda actual, wanted: actual == wanted,
    "NotEquals": lambda actual, wanted: actual != wanted,
    "GreaterThan": lambda actual, wanted: actual > wanted,
    "GreaterThanOrEqualTo": lambda actual, wanted: actual >= wanted,
    "LessThan": lambda actual, wanted: actual < wanted,
    "LessThanOrEqualTo": lambda actual, wanted: actual <= wanted,
    "Contains": lambda actual, wanted: wanted in actual,
}


def install(account: Account) -> None:
    """Registers Search. After training and hosting: it asks their operations."""
    operations = account.operations.setdefault("sagemaker", {})

    def search(parameters: dict[str, Any]) -> dict[str, Any]:
        resource = parameters["Resource"]
        if resource not in _RESOURCES:
            raise invalid(f"The laptop searches {' and '.join(_RESOURCES)}, not {resource}.")
        list_name, member, name, describe_name, arn = _RESOURCES[resource]
        summaries: list[dict[str, Any]] = []
        token: dict[str, Any] = {}
        while True:
            answer = operations[list_name]({"MaxResults": 100, **token})
            summaries += answer[member]
            if "NextToken" not in answer:
                break
            token = {"NextToken": answer["NextToken"]}
        records = []
        for summary in summaries:
            described = operations[describe_name]({name: summary[name]})
            described["Tags"] = write_tags(account.tags.get(described[arn], {}))
            if _matches(described, parameters.get("SearchExpression", {})):
                records.append(described)
        order = parameters.get("SortBy", "LastModifiedTime")
        records.sort(
            key=lambda record: record[order] if order in record else record["CreationTime"],
            reverse=parameters.get("SortOrder", "Descending") == "Descending",
        )
        chosen, more = page(records, parameters, lambda record: str(record[name]), 20)
        return {"Results": [{resource: record} for record in chosen], **more}

    operations["Search"] = search


def _matches(record: Mapping[str, Any], expression: Mapping[str, Any]) -> bool:
    if expression.get("NestedFilters") or expression.get("SubExpressions"):
        raise invalid("The laptop's Search knows Filters only.")
    held = [_holds(record, one) for one in expression.get("Filters", ())]
    return not held or (any if expression.get("Operator") == "Or" else all)(held)


def _holds(record: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    name, operator = wanted["Name"], wanted.get("Operator", "Equals")
    tags = {f"Tags.{tag['Key']}": tag["Value"] for tag in record["Tags"]}
    actual = tags.get(name, record.get(name))
    if operator in {"Exists", "NotExists"}:
        return (actual is not None) is (operator == "Exists")
    if actual is None:
        return False
    if operator not in _COMPARISONS:
        raise invalid(f"The laptop's Search does not know the operator {operator}.")
    value: Any = wanted["Value"]
    if isinstance(actual, datetime):
        value = as_datetime(value)
    elif isinstance(actual, bool):
        actual = str(actual).lower()
    elif isinstance(actual, int | float):
        value = float(value)
    return _COMPARISONS[operator](actual, value)
