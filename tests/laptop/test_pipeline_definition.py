"""What a pipeline definition says, and which definitions and parameters are refused, without running anything."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from laptop.pipeline_definition import (
    BadDefinition,
    BadParameters,
    Unresolved,
    at_path,
    chosen_parameters,
    duration,
    outcome,
    parse,
    resolved,
)

JOB_MEMBERS = frozenset({"RoleArn", "AppSpecification"})


def step(name: str, **more: Any) -> dict[str, Any]:
    return {"Name": name, "Type": "Processing", "Arguments": {}, **more}


def document(*steps: dict[str, Any], **more: Any) -> str:
    return json.dumps({"Version": "2020-12-01", "Steps": list(steps), **more})


def read(text: str) -> Any:
    return parse(text, lambda _: JOB_MEMBERS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        (json.dumps({"Version": "2019-01-01", "Steps": []}), "'2020-12-01'"),
        (document(), "no Steps"),
        (document(step("A"), step("A")), "two steps are called A"),
        (document(step("A", Type="Lambda")), "'Lambda'"),
        (document(step("A", Arguments={"Rolle": ""})), "Unknown Argument member 'Rolle' in step A"),
        (document(step("A", DependsOn=["B"])), "depends on B, which is no step"),
        (document(step("A", DependsOn=["B"]), step("B", DependsOn=["A"])), "the steps A, B wait for each other"),
        (document(step("A", Arguments={"RoleArn": {"Get": "Parameters.Role"}})), "parameter Role, which is not"),
        (document(step("A", Arguments={"RoleArn": {"Get": "Nothing.At"}})), "'Nothing.At'"),
        (document(step("A", CacheConfig={"Enabled": True, "ExpireAfter": "soon"})), "'soon'"),
        (document(step("A"), Parameters=[{"Name": "P", "Type": "Datum"}]), "'Datum'"),
        (
            document(step("A"), Parameters=[{"Name": "P", "Type": "Integer", "DefaultValue": "many"}]),
            "can't be 'many'",
        ),
        (
            document(
                step("A"),
                {
                    "Name": "If",
                    "Type": "Condition",
                    "Arguments": {
                        "Conditions": [
                            {
                                "Type": "Equals",
                                "LeftValue": {
                                    "Std:JsonGet": {"PropertyFile": {"Get": "Steps.A.PropertyFiles.M"}, "Path": "x"}
                                },
                                "RightValue": 1,
                            }
                        ]
                    },
                },
            ),
            "reads the property file M, which A does not have",
        ),
    ],
)
def test_a_definition_that_sagemaker_would_not_take_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(BadDefinition) as refused:
        read(text)
    assert says in str(refused.value)


def test_a_step_waits_for_what_it_names_and_for_the_condition_that_it_is_a_branch_of() -> None:
    join = {"Std:Join": {"On": "/", "Values": [{"Get": "Steps.A.ProcessingJobArn"}, "x"]}}
    condition = {"Name": "If", "Type": "Condition", "DependsOn": ["B"], "Arguments": {"Conditions": []}}
    condition["Arguments"] = {"Conditions": [], "IfSteps": [step("Yes")], "ElseSteps": [step("No")]}
    steps = read(document(step("A"), step("B", Arguments={"RoleArn": join}), condition)).steps
    assert {name: sorted(one.needs) for name, one in steps.items()} == {
        "A": [],
        "B": ["A"],
        "If": ["B"],
        "Yes": ["If"],
        "No": ["If"],
    }
    assert (steps["Yes"].branch, steps["No"].branch) == (("If", "True"), ("If", "False"))


def test_parameters_have_types_and_defaults_and_unknown_ones_are_refused_by_name() -> None:
    parameters = [
        {"Name": "Text", "Type": "String", "DefaultValue": "a", "EnumValues": ["a", "b"]},
        {"Name": "Count", "Type": "Integer", "DefaultValue": 3},
        {"Name": "Rate", "Type": "Float", "DefaultValue": 0.5},
        {"Name": "Needed", "Type": "Boolean"},
    ]
    definition = read(document(step("A"), Parameters=parameters))
    assert chosen_parameters(definition, {"Needed": "true", "Count": "7"}) == {
        "Text": "a",
        "Count": 7,
        "Rate": 0.5,
        "Needed": True,
    }
    for given, says in (
        ({"Needed": "true", "Epoch": "3"}, "no parameter Epoch; it has Text, Count, Rate, Needed"),
        ({"Needed": "true", "Count": "many"}, "Count is of the type Integer, and can't be 'many'"),
        ({"Needed": "true", "Text": "c"}, "Text can't be 'c'; it is one of a, b"),
        ({}, "Needed has no default value, and is not given"),
    ):
        with pytest.raises(BadParameters) as refused:
            chosen_parameters(definition, given)
        assert says in str(refused.value)


def test_expressions_become_values_wherever_they_stand() -> None:
    known = {"Parameters.Bucket": "data", "Parameters.Count": 2, "Parameters.Spot": True}
    value = {
        "Uri": {"Std:Join": {"On": "/", "Values": ["s3:/", {"Get": "Parameters.Bucket"}, "x"]}},
        "Many": [{"Get": "Parameters.Count"}, {"Std:Join": {"Values": [{"Get": "Parameters.Spot"}]}}],
        "Score": {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.A.PropertyFiles.M"}, "Path": "$.test.score"}},
        "Get": "a member of that name",
    }
    assert resolved(value, known.__getitem__, lambda _: {"test": {"score": 0.75}}) == {
        "Uri": "s3://data/x",
        "Many": [2, "true"],
        "Score": 0.75,
        "Get": "a member of that name",
    }


def test_a_path_reaches_into_lists_by_number_and_by_the_name_of_an_output() -> None:
    described = {"Outputs": [{"OutputName": "train", "S3Output": {"S3Uri": "s3://a/b"}}], "Seconds": [41, 7]}
    assert at_path(described, "Outputs['train'].S3Output.S3Uri") == "s3://a/b"
    assert at_path(described, "$.Seconds[1]") == 7
    for path in ("Outputs['test'].S3Output", "Seconds[2]", "Nothing", "Seconds..x"):
        with pytest.raises(Unresolved):
            at_path(described, path)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"Type": "GreaterThan", "LeftValue": 0.6, "RightValue": 0.5}, True),
        ({"Type": "GreaterThan", "LeftValue": 0.5, "RightValue": 0.5}, False),
        ({"Type": "GreaterThanOrEqualTo", "LeftValue": 0.5, "RightValue": 0.5}, True),
        ({"Type": "LessThan", "LeftValue": 0.4, "RightValue": 0.5}, True),
        ({"Type": "LessThanOrEqualTo", "LeftValue": 0.6, "RightValue": 0.5}, False),
        ({"Type": "Equals", "LeftValue": "a", "RightValue": "a"}, True),
        ({"Type": "In", "QueryValue": "a", "Values": ["b", "c"]}, False),
        ({"Type": "Not", "Condition": {"Type": "Equals", "LeftValue": 1, "RightValue": 1}}, False),
        ({"Type": "Or", "Conditions": [{"Type": "In", "QueryValue": 1, "Values": [1]}]}, True),
    ],
)
def test_conditions_hold_as_their_type_says(condition: dict[str, Any], holds: bool) -> None:
    assert outcome([condition]) is holds


def test_values_that_can_not_be_compared_have_no_outcome() -> None:
    with pytest.raises(Unresolved, match="can't be compared"):
        outcome([{"Type": "GreaterThan", "LeftValue": "high", "RightValue": 0.5}])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PT1H", timedelta(hours=1)),
        ("P30D", timedelta(days=30)),
        ("30d", timedelta(days=30)),
        ("T16m", timedelta(minutes=16)),
        ("30dT5h", timedelta(days=30, hours=5)),
    ],
)
def test_a_cached_step_expires_after_a_duration_in_either_spelling(text: str, expected: timedelta) -> None:
    assert duration(text) == expected
