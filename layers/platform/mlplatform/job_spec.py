"""job.json, the optional wishes beside a dataset: read strictly, so that a misspelt wish is refused and not ignored."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, NoReturn, TypeVar

from mlplatform import algorithms, instances
from mlplatform.errors import DataRejected
from mlplatform.facts import HostingKind, JobSpec, Range, Scale, Task, TuningSpec
from mlplatform.kinds import AUTO
from mlplatform.names import JOB_SPEC_FILE
from mlplatform.settings import LONGEST_RUN_SECONDS, MOST_INVOCATIONS_PER_INSTANCE

_KEYS = (
    "label",
    "task",
    "algorithm",
    "hyperparameters",
    "instance_type",
    "instance_count",
    "hosting",
    "pipeline",
    "approval",
    "tuning",
)
Value = TypeVar("Value")

# More would wait for one another longer than they save on tables. An account's quota for the type may be lower; a drop
# then waits (quotas.py).
_MOST_TRAINING_INSTANCES = 16

_PYTORCH = algorithms.HYPERPARAMETERS[algorithms.PYTORCH]
# name -> what it may be
_CHOICES: Mapping[str, tuple[str, ...]] = {"network": ("tabm", "mlp")}
# name -> (smallest, largest); where an account's quota is lower, the model waits for an approval (quotas.py)
_HOSTING_NUMBERS: Mapping[str, tuple[int, int]] = {
    "min_instances": (1, 100),
    "max_instances": (1, 100),
    "invocations_per_instance": (1, MOST_INVOCATIONS_PER_INSTANCE),
    "concurrent_requests_per_instance": (1, 1000),
    "memory_gb": (1, 6),  # ProductionVariantServerlessConfig, SageMaker API reference; so is the next
    "max_concurrency": (1, 200),
    "requests_per_day": (0, 1_000_000_000),
    "latency_ms": (1, 3_600_000),
}
_INSTANCES = (
    "instance_type",
    "min_instances",
    "max_instances",
    "invocations_per_instance",
    "concurrent_requests_per_instance",
)
_SERVERLESS = ("memory_gb", "max_concurrency")
# kind -> the keys that mean something to it
HOSTING_KEYS: Mapping[str, tuple[str, ...]] = {
    HostingKind.REAL_TIME: _INSTANCES,
    HostingKind.SERVERLESS: _SERVERLESS,
    HostingKind.SCALE_TO_ZERO: ("instance_type", "max_instances", "invocations_per_instance", "memory_gb"),
    HostingKind.ASYNCHRONOUS: ("instance_type", "max_instances"),
    AUTO: (*_INSTANCES, "requests_per_day", "latency_ms"),
}
# name -> (smallest, largest): what SageMaker allows without asking ("Resource Limits for Automatic Model Tuning",
# SageMaker developer guide), and the run time of any training.
_TUNING_NUMBERS: Mapping[str, tuple[int, int]] = {
    "max_jobs": (1, 750),
    "max_parallel_jobs": (1, 10),
    "max_runtime_seconds": (60, LONGEST_RUN_SECONDS),
    "round": (1, 1_000_000),
}
_TUNING_KEYS = (*_TUNING_NUMBERS, "strategy", "early_stopping", "objective", "ranges", "max_cost_usd", "warm_start")
_STRATEGIES = {"bayesian": "Bayesian", "random": "Random"}
_SCALES: Mapping[str, Scale] = {
    "auto": "Auto",
    "linear": "Linear",
    "log": "Logarithmic",
    "reverse_log": "ReverseLogarithmic",
}
_MOST_SEARCHED = 30  # ParameterRanges, service model; each value of a categorical one counts
_DEFAULT_RANGES = (
    Range("learning_rate", "Continuous", "0.0001", "0.01", "Logarithmic"),
    Range("hidden_size", "Integer", "64", "256", "Auto"),
    Range("batch_size", "Integer", "32", "128", "Auto"),
)


def parse_job_spec(content: bytes | None) -> JobSpec:
    """What job.json asks for; without one, nothing in particular.

    Raises DataRejected with one sentence that names the key, what it holds and what it may hold.
    """
    if content is None:
        return JobSpec()
    spec = _object("", _parsed(content))
    _only_known("", spec, _KEYS)
    algorithm = _optional(spec, "algorithm", _algorithm) or algorithms.PYTORCH
    hyperparameters = _hyperparameters(spec["hyperparameters"], algorithm) if "hyperparameters" in spec else {}
    asked = JobSpec(
        label=_optional(spec, "label", _label),
        task=_optional(spec, "task", _task),
        algorithm=algorithm,
        hyperparameters=hyperparameters,
        instance_type=_optional(spec, "instance_type", _training_type),
        instance_count=_optional(spec, "instance_count", _instance_count) or 1,
        hosting=_optional(spec, "hosting", _hosting) or {},
        ask_approval=_optional(spec, "approval", _approval) or False,
        tuning=_optional(spec, "tuning", lambda value: _tuning(value, hyperparameters)),
    )
    if "pipeline" in spec or algorithm != algorithms.PYTORCH:  # what is not PyTorch alone takes several steps
        asked = with_pipeline(asked, _object("pipeline", spec.get("pipeline", {})))
    return asked


def _parsed(content: bytes) -> Any:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _reject(f"is not UTF-8 text (byte {error.start + 1} is the first that does not fit); save it as UTF-8")
    try:
        spec = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
        json.dumps(spec, ensure_ascii=False).encode()  # half of a surrogate pair could not be written to any verdict
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        _reject(f"is not valid JSON: {error.msg[:1].lower()}{error.msg[1:]} at {where}; correct it and drop it again")
    except ValueError as error:
        _reject(f"holds a value that cannot be used ({error}); correct it and drop it again")
    except RecursionError:
        _reject("is nested too deeply to be read; no key that it may hold is more than four levels deep")
    return spec


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            _reject(f"has the key '{key}' twice; keep one of them")
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    _reject(f"holds {name}, which is not a JSON number; write a plain number")


def _optional(spec: Mapping[str, Any], key: str, read: Callable[[Any], Value]) -> Value | None:
    return read(spec[key]) if key in spec else None


def _label(value: Any) -> str | int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        _reject(f"has {_said(value)} as 'label'; write a column's name, or its position counted from 0")
    if isinstance(value, str) and not value.strip():
        _reject("has an empty 'label'; write a column's name, or leave the key out")
    return value.strip() if isinstance(value, str) else value


def _task(value: Any) -> Task:
    return Task(_one_of("task", value, [task.value for task in Task]))


def _algorithm(value: Any) -> str:
    return _one_of("algorithm", value, algorithms.ALGORITHMS)


def _training_type(value: Any) -> str:
    return _instance_type("instance_type", value, instances.TRAINING, "trains", "ml.m5.xlarge")


def _instance_count(value: Any) -> int:
    count = _whole_number("instance_count", value)
    if not 1 <= count <= _MOST_TRAINING_INSTANCES:
        _reject(f"has {count} as 'instance_count'; it must be from 1 to {_MOST_TRAINING_INSTANCES}")
    return count


def _hyperparameters(value: Any, algorithm: str) -> dict[str, str]:
    wishes, known = _object("hyperparameters", value), algorithms.HYPERPARAMETERS[algorithm]
    choices = _CHOICES if algorithm == algorithms.PYTORCH else {}
    _only_known("hyperparameters", wishes, (*known, *choices))
    return {name: _hyperparameter(f"hyperparameters.{name}", name, wish, known) for name, wish in wishes.items()}


def _hyperparameter(path: str, name: str, value: Any, known: Mapping[str, algorithms.Limits] = _PYTORCH) -> str:
    if name in _CHOICES:
        return _one_of(path, value, _CHOICES[name])
    limits = known[name]
    number: int | float
    if limits.whole:
        number = _whole_number(path, value)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        _reject(f"has {_said(value)} as '{path}'; it must be a number, without quotes")
    else:
        number = value
    if not limits.smallest <= number <= limits.largest:
        _reject(f"has {_said(value)} as '{path}'; it must be from {limits.smallest:,} to {limits.largest:,}")
    return str(number)


def _tuning(value: Any, fixed: Mapping[str, str]) -> TuningSpec | None:
    """`true` and `{}` are the defaults; a hyperparameter that is fixed is not tuned."""
    if isinstance(value, bool):
        value = {} if value else None
    if value is None:
        return None
    wishes = _object("tuning", value)
    _only_known("tuning", wishes, _TUNING_KEYS)
    for name, (smallest, largest) in _TUNING_NUMBERS.items():
        if name in wishes and not smallest <= _whole_number(f"tuning.{name}", wishes[name]) <= largest:
            _reject(f"has {wishes[name]} as 'tuning.{name}'; it must be from {smallest:,} to {largest:,}")
    for name in ("early_stopping", "warm_start"):
        if not isinstance(wishes.get(name, True), bool):
            _reject(f"has {_said(wishes[name])} as 'tuning.{name}'; it must be true or false")
    objective = wishes.get("objective", TuningSpec.objective)
    if not isinstance(objective, str) or not objective.startswith("validation:"):
        _reject(
            f"has {_said(objective)} as 'tuning.objective'; it must be a metric of the validation rows, such as "
            '"validation:loss": the test rows judge the result'
        )
    jobs = wishes.get("max_jobs", TuningSpec.max_jobs)
    parallel = wishes.get("max_parallel_jobs", min(TuningSpec.max_parallel_jobs, jobs))
    if parallel > jobs:
        _reject(
            f"has 'tuning.max_parallel_jobs' {parallel} above 'tuning.max_jobs' {jobs}; lower one or raise the other"
        )
    return TuningSpec(
        max_jobs=jobs,
        max_parallel_jobs=parallel,
        strategy=_STRATEGIES[_one_of("tuning.strategy", wishes.get("strategy", "bayesian"), _STRATEGIES)],  # type: ignore[arg-type]
        early_stopping=wishes.get("early_stopping", True),
        objective=objective,
        ranges=_ranges(wishes.get("ranges", {}), fixed),
        max_cost_usd=_optional(wishes, "max_cost_usd", _max_cost),
        max_runtime_seconds=wishes.get("max_runtime_seconds"),
        warm_start=wishes.get("warm_start", True),
        round=wishes.get("round", 1),
    )


def _max_cost(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.01 <= value <= 1_000_000:
        _reject(f"has {_said(value)} as 'tuning.max_cost_usd'; it must be an amount in USD, from 0.01 to 1,000,000")
    return Decimal(str(value)).quantize(Decimal("0.01"))


def _ranges(value: Any, fixed: Mapping[str, str]) -> tuple[Range, ...]:
    """What is asked for, and the defaults for the rest."""
    wishes = _object("tuning.ranges", value)
    _only_known("tuning.ranges", wishes, (*_PYTORCH, *_CHOICES))
    for name in wishes:
        if name in fixed:
            _reject(
                f"has '{name}' under 'hyperparameters' and under 'tuning.ranges'; a hyperparameter is either fixed or "
                "tuned, so take it out of one of them"
            )
    asked = {name: _range(name, wish) for name, wish in wishes.items()}
    ranges = [asked.pop(one.name, one) for one in _DEFAULT_RANGES if one.name not in fixed] + list(asked.values())
    if not ranges:
        _reject("asks for 'tuning' with every hyperparameter fixed; give at least one range under 'tuning.ranges'")
    searched = sum(len(one.values) or 1 for one in ranges)
    if searched > _MOST_SEARCHED:
        _reject(
            f"has {searched} things to search under 'tuning.ranges'; SageMaker searches at most {_MOST_SEARCHED}, and "
            "each of several values counts as one"
        )
    return tuple(ranges)


def _range(name: str, value: Any) -> Range:
    """`{"min": 0.001, "max": 0.1, "scale": "log"}`, `[0.001, 0.1]`, or `{"values": [32, 64]}`."""
    path = f"tuning.ranges.{name}"
    if isinstance(value, list):
        if len(value) != 2:
            _reject(f"has {_said(value)} as '{path}'; it must be [smallest, largest] or {{\"values\": [...]}}")
        value = {"min": value[0], "max": value[1]}
    if not isinstance(value, dict) or not value:
        _reject(f'has {_said(value)} as \'{path}\'; it must be such as {{"min": 1, "max": 8, "scale": "log"}}')
    if "values" in value:
        _only_known(path, value, ("values",))
        return Range(name, "Categorical", values=_values(path, name, value["values"]))
    _only_known(path, value, ("min", "max", "scale"))
    if name in _CHOICES:
        _reject(f'has a range as \'{path}\'; it can only be tuned among values, such as {{"values": ["tabm", "mlp"]}}')
    for end in ("min", "max"):
        if end not in value:
            _reject(f"lacks '{path}.{end}'; a range has a smallest and a largest value")
    smallest, largest = (_hyperparameter(f"{path}.{end}", name, value[end]) for end in ("min", "max"))
    if float(smallest) >= float(largest):
        _reject(f"has '{path}.min' {smallest} not below '{path}.max' {largest}; exchange them, or fix the value")
    scale = _SCALES[_one_of(f"{path}.scale", value.get("scale", "auto"), _SCALES)]
    if scale == "Logarithmic" and float(smallest) <= 0:
        _reject(f"has {smallest} as '{path}.min'; a log scale needs values above 0")
    if scale == "ReverseLogarithmic" and float(largest) >= 1:
        _reject(f"has {largest} as '{path}.max'; a reverse_log scale needs values from 0 to below 1")
    return Range(name, "Integer" if _PYTORCH[name].whole else "Continuous", smallest, largest, scale)


def _values(path: str, name: str, values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or len(values) < 2:
        _reject(f"has {_said(values)} as '{path}.values'; it must be a list of two values or more")
    read = tuple(_hyperparameter(f"{path}.values", name, one) for one in values)
    if len(set(read)) < len(read):
        _reject(f"has {_said(values)} as '{path}.values'; each value counts once")
    return read


def _hosting(value: Any) -> dict[str, Any]:
    wishes = _object("hosting", value)
    _only_known("hosting", wishes, ("kind", "instance_type", *_HOSTING_NUMBERS))
    kind = _one_of("hosting.kind", wishes.get("kind", HostingKind.REAL_TIME.value), tuple(HOSTING_KEYS))
    if "instance_type" in wishes:
        _instance_type("hosting.instance_type", wishes["instance_type"], instances.HOSTING, "hosts", "ml.c5.large")
    for name, (smallest, largest) in _HOSTING_NUMBERS.items():
        if name in wishes and not smallest <= _whole_number(f"hosting.{name}", wishes[name]) <= largest:
            _reject(f"has {wishes[name]} as 'hosting.{name}'; it must be from {smallest:,} to {largest:,}")
    fewest, most = wishes.get("min_instances"), wishes.get("max_instances")
    if fewest is not None and most is not None and fewest > most:
        _reject(
            f"has 'hosting.min_instances' {fewest} above 'hosting.max_instances' {most}; lower one or raise the other"
        )
    for name in wishes:
        if name != "kind" and name not in HOSTING_KEYS[kind]:
            whose = [one for one, keys in HOSTING_KEYS.items() if name in keys]
            said = f"it is {kind}" if "kind" in wishes else "there is none"
            _reject(
                f"has 'hosting.{name}', which belongs to the 'hosting.kind' {' or '.join(whose)}, but {said}; leave "
                f"'hosting.{name}' out or change the kind"
            )
    return wishes


def pipeline_parameters(wishes: Mapping[str, Any]) -> dict[str, str]:
    """What a person may set of a pipeline's parameters, in job.json or when starting an execution by hand.

    Raises DataRejected with one sentence, for a parameter that does not exist too.
    """
    known = tuple(_PIPELINE_PARAMETERS)
    for name in wishes:
        if name not in known:
            _reject(
                f"asks for the pipeline parameter '{name}', which does not exist; the parameters to set are "
                f"{_listed(known)}{_similar(name, known)}"
            )
    chosen = {name: _PIPELINE_PARAMETERS[name](f"pipeline.{name}", wish) for name, wish in wishes.items()}
    runtime, wait = chosen.get("TrainingMaxRuntimeSeconds"), chosen.get("TrainingMaxWaitSeconds")
    if runtime is not None and wait is not None and int(wait) < int(runtime):
        _reject(
            f"has 'pipeline.TrainingMaxWaitSeconds' {wait} below 'pipeline.TrainingMaxRuntimeSeconds' {runtime}; a "
            "spot job's wait includes its run"
        )
    return chosen


def with_pipeline(spec: JobSpec, wishes: Mapping[str, Any]) -> JobSpec:
    """The same wishes for a pipeline's execution, with parameters of it. Raises DataRejected."""
    parameters = pipeline_parameters(wishes)
    if spec.tuning is not None:
        _reject("asks for 'tuning' and for a pipeline, which trains with given hyperparameters; leave one of them out")
    if spec.instance_count != 1:
        _reject(
            f"asks for {spec.instance_count} training instances, but a pipeline trains on one; leave one of them out"
        )
    hosting = dict(spec.hosting)
    # What a pipeline calls by another name is the same wish, and has to be the same everywhere.
    if "InferenceInstanceType" in parameters:
        if hosting.get("kind") == HostingKind.SERVERLESS.value:
            _reject("has 'pipeline.InferenceInstanceType', but serverless hosting has no instances; leave it out")
        hosting["instance_type"] = parameters["InferenceInstanceType"]
    return replace(
        spec,
        pipeline={**(spec.pipeline or {}), **parameters},
        instance_type=parameters.get("TrainingInstanceType", spec.instance_type),
        hosting=hosting,
    )


def _between(smallest: float, largest: float, *, whole: bool) -> Callable[[str, Any], str]:
    def read(path: str, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            _reject(f"has {_said(value)} as '{path}'; it must be a {'whole ' if whole else ''}number, without quotes")
        if not smallest <= value <= largest:
            _reject(f"has {_said(value)} as '{path}'; it must be from {smallest:,} to {largest:,}")
        return str(value)

    return read


def _processing_type(path: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"ml\.[a-z0-9-]+\.[a-z0-9-]+", value):
        _reject(f"has {_said(value)} as '{path}'; it must be a type of SageMaker's, for example \"ml.t3.medium\"")
    return value


# The limit of volumes: ResourceConfig, SageMaker API reference.
_PIPELINE_PARAMETERS: Mapping[str, Callable[[str, Any], str]] = {
    "TrainingInstanceType": lambda path, value: _instance_type(
        path, value, instances.TRAINING, "trains", "ml.m5.xlarge"
    ),
    "InferenceInstanceType": lambda path, value: _instance_type(path, value, instances.HOSTING, "hosts", "ml.c5.large"),
    "ProcessingInstanceType": _processing_type,
    "ApprovalStatus": lambda path, value: _one_of(path, value, ("PendingManualApproval", "Approved")),
    "LeastScore": _between(-1, 1, whole=False),
    "TrainingMaxRuntimeSeconds": _between(60, LONGEST_RUN_SECONDS, whole=True),
    "TrainingMaxWaitSeconds": _between(60, LONGEST_RUN_SECONDS, whole=True),
    "VolumeGib": _between(1, 16_384, whole=True),
}


def _approval(value: Any) -> bool:
    return _one_of("approval", value, ("automatic", "manual")) == "manual"


def _instance_type(path: str, value: Any, known: Collection[str], does: str, example: str) -> str:
    if not isinstance(value, str) or value not in known:
        hint = f'it must be a type that SageMaker {does} on with the platform\'s images, for example "{example}"'
        meant = f"ml.{value}" if isinstance(value, str) and not value.startswith("ml.") else value
        _reject(f"has {_said(value)} as '{path}'; {hint}{_similar(meant, known)}")
    return value


def _one_of(path: str, value: Any, known: Collection[str]) -> str:
    if not isinstance(value, str) or value not in known:
        _reject(f"has {_said(value)} as '{path}'; it must be one of {_listed(known)}{_similar(value, known)}")
    return value


def _whole_number(path: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        _reject(f"has {_said(value)} as '{path}'; it must be a whole number, without quotes")
    return value


def _object(path: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        what, example = f"has {_said(value)} as '{path}'", '{"epochs": 20}'
        if not path:
            what, example = f"holds {_said(value)}", '{"label": "diagnosis"}'
        _reject(f"{what}; it must be an object of keys and values, such as {example}")
    return value


def _only_known(path: str, wishes: Mapping[str, Any], known: Collection[str]) -> None:
    for key in wishes:
        if key not in known:
            full = f"{path}.{key}" if path else key
            among = f"the keys under '{path}' are" if path else "the keys are"
            _reject(f"has the unknown key '{full}'; {among} {_listed(known)}{_meant(path, key, known)}")


def _meant(path: str, key: str, known: Collection[str]) -> str:
    """A key that is written a little differently, or that belongs a level below, or that others call so."""
    other = {("tuning", "trials"): "max_jobs", ("tuning", "jobs"): "max_jobs"}.get((path, key))
    if not path:
        below = {"hyperparameters": (*_PYTORCH, *_CHOICES), "tuning": _TUNING_KEYS, "hosting": tuple(_HOSTING_NUMBERS)}
        other = next((f"{group}.{key}" for group, keys in below.items() if key in keys), None)
    return f" (did you mean {other}?)" if other else _similar(key, known)


def _similar(value: Any, known: Collection[str]) -> str:
    close = difflib.get_close_matches(value, known, n=1, cutoff=0.75) if isinstance(value, str) else []
    return f' (did you mean "{close[0]}"?)' if close else ""


def _listed(known: Collection[str]) -> str:
    return ", ".join(known)


def _said(value: Any) -> str:
    """A JSON value as its author wrote it, cut to a readable length."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _reject(what: str) -> NoReturn:
    raise DataRejected(f"{JOB_SPEC_FILE} {what}.")
