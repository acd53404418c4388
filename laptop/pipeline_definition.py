"""A pipeline definition as SageMaker reads it: its parameters, its steps, what depends on what, and its expressions.

Nothing here calls anything. The form is version 2020-12-01 of the definition schema, as the SageMaker Python SDK writes
it (https://docs.aws.amazon.com/sagemaker/latest/dg/pipelines-overview.html): values that are known only when a step
starts are `{"Get": "Parameters.Name"}`, `{"Get": "Execution.PipelineExecutionId"}`, `{"Get": "Steps.Name.Property"}`,
`{"Std:Join": {"On": "/", "Values": [...]}}` and `{"Std:JsonGet": {"PropertyFile": ..., "Path": ...}}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

VERSION = "2020-12-01"
# What the laptop runs, and the operation whose members a step's Arguments are, where there is one.
STEP_OPERATIONS = {
    "Processing": "CreateProcessingJob",
    "Training": "CreateTrainingJob",
    "Model": "CreateModel",
    "RegisterModel": "CreateModelPackage",
    "Condition": None,
    "Fail": None,
}
# What a step is recognised by when an earlier run of it may stand for it ("Default cache key attributes by pipeline
# step type", https://docs.aws.amazon.com/sagemaker/latest/dg/pipelines-default-keys.html); other types are not cached.
CACHE_ATTRIBUTES = {
    "Processing": ("AppSpecification", "Environment", "ProcessingInputs"),
    "Training": (
        "AlgorithmSpecification",
        "CheckpointConfig",
        "DebugHookConfig",
        "Environment",
        "HyperParameters",
        "InputDataConfig",
    ),
}
_LIST_KEYS = ("OutputName", "InputName", "ChannelName")  # Outputs['train'] is the output of that name
_PATH = re.compile(
    r"\.?(?P<name>[A-Za-z_][\w-]*)|\[(?P<index>\d+)\]|\['(?P<quoted>[^']*)'\]|\[\"(?P<double>[^\"]*)\"\]"
)
# "PT1H", "P30D", and as the guide has it without the P: "30d", "T16m", "30dT5h" (pipelines-caching-enabling.html)
_DURATION = re.compile(
    r"P?(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?)?"
)
_DAYS = {"years": 365, "months": 30, "weeks": 7, "days": 1}

Value = Any
Scope = Callable[[str], Value]  # a reference such as "Parameters.Epochs" -> its value; raises Unresolved


class BadDefinition(Exception):
    """Why SageMaker would not take the definition."""


class BadParameters(Exception):
    """Why an execution can't start with these parameters."""


class Unresolved(Exception):
    """An expression that has no value: `str()` says which, and why."""


@dataclass(frozen=True)
class Step:
    """One step, wherever in the definition it stands."""

    name: str
    type: str
    arguments: Mapping[str, Any]
    needs: frozenset[str]  # the steps that must have succeeded before
    branch: tuple[str, str] | None  # the condition step that it is a branch of, and the outcome: "True" or "False"
    retry_policies: tuple[Mapping[str, Any], ...] = ()
    cache_for: timedelta | None = None
    property_files: Mapping[str, tuple[str, str]] | None = None  # name -> output name, path within it
    display_name: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class Definition:
    """What a definition's JSON says."""

    text: str
    parameters: Mapping[str, Mapping[str, Any]]  # name -> Name, Type, DefaultValue, EnumValues
    steps: Mapping[str, Step]  # in the order in which they are written


def parse(text: str, members: Callable[[str], frozenset[str]]) -> Definition:
    """Raises BadDefinition. `members` gives the members of an operation's request."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise BadDefinition(f"it is not JSON ({error})") from None
    if not isinstance(document, dict):
        raise BadDefinition("it is not a JSON object")
    if document.get("Version") != VERSION:
        raise BadDefinition(f"its Version is {document.get('Version')!r}, not {VERSION!r}")
    parameters = {one["Name"]: one for one in document.get("Parameters", [])}
    if len(parameters) != len(document.get("Parameters", [])):
        raise BadDefinition("two parameters have the same name")
    for one in parameters.values():
        if one.get("Type") not in _READERS:
            raise BadDefinition(f"parameter {one['Name']} has the Type {one.get('Type')!r}")
        if "DefaultValue" in one:
            _read(one, str(one["DefaultValue"]), BadDefinition)
    steps: dict[str, Step] = {}
    for step in _steps(document.get("Steps", []), None, frozenset()):
        if step.name in steps:
            raise BadDefinition(f"two steps are called {step.name}")
        steps[step.name] = step
    if not steps:
        raise BadDefinition("it has no Steps")
    for step in steps.values():
        _assert_sound(step, steps, parameters, members)
    _assert_no_circle(steps)
    return Definition(text, parameters, steps)


def _steps(written: list[Any], branch: tuple[str, str] | None, before: frozenset[str]) -> Iterator[Step]:
    for one in written:
        arguments = one.get("Arguments", {})
        kind = one.get("Type")
        if kind not in STEP_OPERATIONS:
            raise BadDefinition(
                f"step {one.get('Name')} is of the type {kind!r}; the laptop runs {', '.join(STEP_OPERATIONS)}, others "
                "need AWS"
            )
        own = {"Conditions": arguments.get("Conditions", [])} if kind == "Condition" else arguments
        named = {reference.split(".")[1] for reference in _references(own) if reference.startswith("Steps.")}
        cache = one.get("CacheConfig", {})
        step = Step(
            name=one["Name"],
            type=kind,
            arguments=own,
            needs=before | frozenset(one.get("DependsOn", [])) | frozenset(named),
            branch=branch,
            retry_policies=tuple(one.get("RetryPolicies", [])),
            cache_for=duration(cache.get("ExpireAfter", "")) if cache.get("Enabled") else None,
            property_files={
                file["PropertyFileName"]: (file["OutputName"], file["FilePath"])
                for file in one.get("PropertyFiles", [])
            },
            display_name=one.get("DisplayName"),
            description=one.get("Description"),
        )
        yield step
        if kind == "Condition":
            inside = frozenset({step.name})
            yield from _steps(arguments.get("IfSteps", []), (step.name, "True"), inside)
            yield from _steps(arguments.get("ElseSteps", []), (step.name, "False"), inside)


def _assert_sound(
    step: Step,
    steps: Mapping[str, Step],
    parameters: Mapping[str, Any],
    members: Callable[[str], frozenset[str]],
) -> None:
    operation = STEP_OPERATIONS[step.type]
    if operation is not None:
        for member in step.arguments:
            if member not in members(operation):
                raise BadDefinition(f"Unknown Argument member '{member}' in step {step.name}")
    for name in step.needs:
        if name not in steps:
            raise BadDefinition(f"step {step.name} depends on {name}, which is no step")
    for reference in _references(step.arguments):
        head, _, rest = reference.partition(".")
        if head == "Parameters" and rest not in parameters:
            raise BadDefinition(f"step {step.name} uses the parameter {rest}, which is not defined")
        if head not in {"Parameters", "Execution", "Steps"}:
            raise BadDefinition(f"step {step.name} refers to {reference!r}")
        name, _, more = rest.partition(".")
        if head == "Steps" and more.startswith("PropertyFiles."):
            file = more.removeprefix("PropertyFiles.")
            if file not in (steps[name].property_files or {}):
                raise BadDefinition(f"step {step.name} reads the property file {file}, which {name} does not have")


def _assert_no_circle(steps: Mapping[str, Step]) -> None:
    done: set[str] = set()
    while len(done) < len(steps):
        free = {name for name, step in steps.items() if name not in done and step.needs <= done}
        if not free:
            left = ", ".join(sorted(steps.keys() - done))
            raise BadDefinition(f"the steps {left} wait for each other")
        done |= free


def _references(value: Value) -> Iterator[str]:
    if isinstance(value, Mapping):
        if set(value) == {"Get"} and isinstance(value["Get"], str):
            yield value["Get"]
        else:
            for member in value.values():
                yield from _references(member)
    elif isinstance(value, list):
        for member in value:
            yield from _references(member)


# ---- parameters ----


def _boolean(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError
    return text.lower() == "true"


_READERS: Mapping[str, Callable[[str], Value]] = {"String": str, "Integer": int, "Float": float, "Boolean": _boolean}


def _read(parameter: Mapping[str, Any], text: str, error: type[Exception]) -> Value:
    try:
        value = _READERS[parameter["Type"]](text)
    except ValueError:
        raise error(
            f"parameter {parameter['Name']} is of the type {parameter['Type']}, and can't be {text!r}"
        ) from None
    allowed = parameter.get("EnumValues")
    if allowed and value not in allowed:
        raise error(f"parameter {parameter['Name']} can't be {text!r}; it is one of {', '.join(map(str, allowed))}")
    return value


def chosen_parameters(definition: Definition, given: Mapping[str, str]) -> dict[str, Value]:
    """Every parameter's value, in its type. Raises BadParameters, for one that does not exist too."""
    for name in given:
        if name not in definition.parameters:
            raise BadParameters(f"the pipeline has no parameter {name}; it has {', '.join(definition.parameters)}")
    values: dict[str, Value] = {}
    for name, parameter in definition.parameters.items():
        if name in given:
            values[name] = _read(parameter, given[name], BadParameters)
        elif "DefaultValue" in parameter:
            values[name] = _read(parameter, str(parameter["DefaultValue"]), BadParameters)
        else:
            raise BadParameters(f"parameter {name} has no default value, and is not given")
    return values


# ---- expressions ----


def resolved(value: Value, scope: Scope, read_json: Callable[[Mapping[str, Any]], Value]) -> Value:
    """The value with every expression in it replaced. `read_json` opens the document of a Std:JsonGet.

    Raises Unresolved.
    """
    if isinstance(value, list):
        return [resolved(member, scope, read_json) for member in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) == {"Get"} and isinstance(value["Get"], str):
        return scope(value["Get"])
    if set(value) == {"Std:Join"}:
        join = value["Std:Join"]
        return join.get("On", "").join(_text(resolved(member, scope, read_json)) for member in join.get("Values", []))
    if set(value) == {"Std:JsonGet"}:
        return at_path(read_json(value["Std:JsonGet"]), value["Std:JsonGet"]["Path"])
    return {name: resolved(member, scope, read_json) for name, member in value.items()}


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def at_path(document: Value, path: str) -> Value:
    """What stands at `a.b[0]['c']` or `$.a.b`. Raises Unresolved where there is nothing."""
    rest = path.removeprefix("$").removeprefix(".")
    found, position = document, 0
    while position < len(rest):
        match = _PATH.match(rest, position)
        if match is None:
            raise Unresolved(f"the path {path!r} can't be read from {rest[position:]!r} on")
        position = match.end()
        try:
            if match["index"] is not None:
                found = found[int(match["index"])]
            else:
                name = next(part for part in (match["name"], match["quoted"], match["double"]) if part is not None)
                found = _member(found, name)
        except (KeyError, IndexError, TypeError, StopIteration):
            raise Unresolved(f"there is nothing at {path!r}") from None
    return found


def _member(holder: Value, name: str) -> Value:
    if isinstance(holder, list):
        return next(one for one in holder if name in [one.get(key) for key in _LIST_KEYS])
    return holder[name]


def outcome(conditions: list[Mapping[str, Any]]) -> bool:
    """Whether all conditions hold, their expressions resolved already. Raises Unresolved."""
    return all(_holds(one) for one in conditions)


_COMPARISONS: Mapping[str, Callable[[Value, Value], bool]] = {
    "Equals": lambda left, right: bool(left == right),
    "GreaterThan": lambda left, right: bool(left > right),
    "GreaterThanOrEqualTo": lambda left, right: bool(left >= right),
    "LessThan": lambda left, right: bool(left < right),
    "LessThanOrEqualTo": lambda left, right: bool(left <= right),
}


def _holds(condition: Mapping[str, Any]) -> bool:
    kind = condition.get("Type")
    if kind == "Not":
        return not _holds(condition["Condition"])
    if kind == "Or":
        return any(_holds(one) for one in condition["Conditions"])
    if kind == "In":
        return condition["QueryValue"] in condition["Values"]
    compare = _COMPARISONS.get(str(kind))
    if compare is None:
        raise Unresolved(f"there is no condition of the type {kind!r}")
    try:
        return compare(condition["LeftValue"], condition["RightValue"])
    except TypeError:
        left, right = condition["LeftValue"], condition["RightValue"]
        raise Unresolved(f"{left!r} and {right!r} can't be compared by {kind}") from None


def duration(text: str) -> timedelta:
    """CacheConfig's ExpireAfter. Raises BadDefinition."""
    match = _DURATION.fullmatch(text.upper())
    if match is None or not any(match.groupdict().values()):
        raise BadDefinition(f"ExpireAfter is {text!r}, which is no duration such as P30D or PT1H")
    counts = {name: int(count) for name, count in match.groupdict().items() if count}
    days = sum(_DAYS[name] * count for name, count in counts.items() if name in _DAYS)
    return timedelta(days=days, hours=counts.get("hours", 0), minutes=counts.get("minutes", 0))


def cache_key(step: Step, arguments: Mapping[str, Any]) -> str | None:
    """What a run of the step is recognised by; None where it may not be reused."""
    if step.cache_for is None or step.type not in CACHE_ATTRIBUTES:
        return None
    chosen = {name: arguments.get(name) for name in CACHE_ATTRIBUTES[step.type]}
    return json.dumps([step.name, step.type, chosen], sort_keys=True, default=str)
