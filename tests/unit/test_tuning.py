"""A drop whose job.json asks for tuning becomes one tuning job within its ceiling, or a reason. Pure: no AWS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

import builders
from builders import NOON, drop
from laptop.service_model import validate
from mlplatform import names
from mlplatform.decisions import DeployModel, RejectDataset, StartTuning
from mlplatform.deployment import plan_deployment, skip_job
from mlplatform.facts import DATASET_TAG, STACK_TAG, JobStatus, Run, TuningJob
from mlplatform.training import plan_training
from mlplatform.tuning import (
    MOST_PARENTS,
    cost,
    plan_ceilings,
    skip_tuning,
    spending,
    summary,
    told,
    with_warm_start,
    without_best,
)

TUNING = "ml-platform-churn-t0123456789a"
BEST = f"{TUNING}-003-abcdef12"


def planned(tuning: Any = None, *, hyperparameters: Any = None, content: bytes | None = None, **changed: Any) -> Any:
    job_json = {"tuning": {} if tuning is None else tuning, "hyperparameters": hyperparameters or {}}
    return plan_training(drop(content, job_json=job_json), None, builders.settings(**changed))


def started(tuning: Any = None, **more: Any) -> StartTuning:
    decision = planned(tuning, **more)
    assert isinstance(decision, StartTuning), decision.reason
    return decision


def refused(tuning: Any = None, **more: Any) -> str:
    decision = planned(tuning, **more)
    assert isinstance(decision, RejectDataset)
    return decision.reason


def trial(*, minutes: float = 30, billable: int | None = None, started: bool = True, spot: bool = True) -> Run:
    """One that has ended, if it was billed."""
    return Run(
        key="arn",
        use="training",
        name=BEST,
        tags={},
        started=NOON if started else None,
        ended=None if billable is None else NOON + timedelta(minutes=minutes),
        fleet=(("ml.m5.xlarge", 1),),
        billable_seconds=billable,
        spot=spot,
    )


def tuning_job(**changed: Any) -> TuningJob:
    """A completed one of three trials."""
    request = started().request
    job = TuningJob(
        name=TUNING,
        arn=f"arn:aws:sagemaker:us-east-1:123456789012:hyper-parameter-tuning-job/{TUNING}",
        status=JobStatus.COMPLETED,
        failure_reason=None,
        objective="validation:loss",
        maximize=False,
        jobs=3,
        trials={"Completed": 2, "InProgress": 0, "Stopped": 1, "NonRetryableError": 0, "RetryableError": 0},
        best=BEST,
        best_value=0.25,
        best_values={"learning_rate": "0.0012345678", "hidden_size": "96"},
        static=request["TrainingJobDefinition"]["StaticHyperParameters"],
        ranges={"learning_rate": "Continuous", "hidden_size": "Integer", "batch_size": "Integer"},
        spot=True,
        tags={
            STACK_TAG: "ml-platform",
            DATASET_TAG: "churn",
            names.VERSION_TAG: builders.VERSION,
            names.TUNING_TAG: TUNING,
            names.CEILING_TAG: "5",
        },
        created=NOON,
    )
    return replace(job, **changed)


# ---- the request ----


@pytest.mark.parametrize(
    "tuning",
    [
        None,
        True,
        {"strategy": "random", "early_stopping": False},
        {"ranges": {"dropout": [0, 0.5], "hidden_size": {"values": [64, 128]}}},
        {"max_jobs": 750, "max_parallel_jobs": 10, "max_cost_usd": 1000},
    ],
)
@pytest.mark.parametrize("region", ["us-east-1"])
def test_the_request_is_one_that_sagemaker_accepts(tuning: Any, region: str) -> None:
    assert validate("sagemaker", "CreateHyperParameterTuningJob", started(tuning, aws_region=region).request) == []


def test_the_defaults_are_the_missions() -> None:
    config = started().request["HyperParameterTuningJobConfig"]
    assert config["Strategy"] == "Bayesian"
    assert config["HyperParameterTuningJobObjective"] == {"Type": "Minimize", "MetricName": "validation:loss"}
    assert config["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 20, "MaxParallelTrainingJobs": 2}
    assert config["TrainingJobEarlyStoppingType"] == "Auto"
    assert config["ParameterRanges"] == {
        "ContinuousParameterRanges": [
            {"Name": "learning_rate", "MinValue": "0.0001", "MaxValue": "0.01", "ScalingType": "Logarithmic"}
        ],
        "IntegerParameterRanges": [
            {"Name": "hidden_size", "MinValue": "64", "MaxValue": "256", "ScalingType": "Auto"},
            {"Name": "batch_size", "MinValue": "32", "MaxValue": "128", "ScalingType": "Auto"},
        ],
    }


@pytest.mark.parametrize(("objective", "kind"), [("validation:loss", "Minimize"), ("validation:accuracy", "Maximize")])
def test_losses_are_minimised_and_scores_maximised(objective: str, kind: str) -> None:
    config = started({"objective": objective}).request["HyperParameterTuningJobConfig"]
    assert config["HyperParameterTuningJobObjective"] == {"Type": kind, "MetricName": objective}


def test_trials_run_on_spot_and_wait_at_least_as_long_as_they_run() -> None:
    definition = started().request["TrainingJobDefinition"]
    assert definition["EnableManagedSpotTraining"] is True
    assert definition["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200}
    shorter = started({"max_runtime_seconds": 600}).request["TrainingJobDefinition"]
    assert shorter["StoppingCondition"] == {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 4200}
    assert definition["CheckpointConfig"]["S3Uri"].startswith("s3://ml-platform-artifacts/checkpoints/churn/")


def test_what_is_tuned_is_not_static_and_what_one_job_alone_has_is_left_out() -> None:
    definition = started(hyperparameters={"hidden_size": 96, "epochs": 5}).request["TrainingJobDefinition"]
    static = definition["StaticHyperParameters"]
    assert static.keys() == {
        "label_column", "header", "delimiter", "encoding", "task", "network", "hidden_size", "epochs",
        "sagemaker_program", "sagemaker_submit_directory", "sagemaker_region", "sagemaker_container_log_level",
    }  # fmt: skip


def test_the_tuning_and_so_its_trials_carry_the_tags_of_the_dataset_and_of_the_tuning() -> None:
    decision = started({"max_cost_usd": 7.5})
    tags = {tag["Key"]: tag["Value"] for tag in decision.request["Tags"]}
    assert tags.items() >= {
        ("Project", "ml-platform"),
        ("Owner", "ml-team"),
        ("ml-platform:stack", "ml-platform"),
        ("ml-platform:dataset", "churn"),
        ("ml-platform:version", decision.version),
        ("ml-platform:tuning", decision.job_name),
        ("ml-platform:max-cost-usd", "7.50"),
    }


@pytest.mark.parametrize(
    ("wishes", "network"),
    [
        ({}, "mlp"),
        ({"hyperparameters": {"network": "tabm"}}, "tabm"),
        ({"tuning": {"ranges": {"network": {"values": ["tabm", "mlp"]}}}}, None),
    ],
)
def test_the_network_that_the_ranges_are_for_is_tuned_unless_another_is_asked_for(
    wishes: dict[str, Any], network: str | None
) -> None:
    decision = started(**{"tuning": {}, **wishes})
    assert decision.request["TrainingJobDefinition"]["StaticHyperParameters"].get("network") == network
    assert (f"of the network {network} over" in decision.explanation) is (network is not None)


# ---- names ----


@pytest.mark.parametrize(
    ("stack", "dataset", "shown"),
    [
        ("ml-platform", "churn", "ml-platform-churn-t"),
        ("ml-platform", "breast-cancer", "ml-platform-breast-t"),  # 7 letters fit, and no name ends in a hyphen
        ("s" * 18, "churn", "s" * 18 + "-t"),
        ("s" * 19, "churn", "s" * 19 + "-t"),
    ],
)
def test_a_tuning_job_has_a_name_of_32_characters_at_most(stack: str, dataset: str, shown: str) -> None:
    name = names.tuning_job(stack, dataset, builders.VERSION, "a1b2c3")
    assert name is not None
    assert name.startswith(shown)
    assert len(name) <= 32
    assert len(name) == len(shown) + 11
    assert name == names.tuning_job(stack, dataset, builders.VERSION, "a1b2c3")


def test_another_version_code_or_dataset_has_another_tuning_job() -> None:
    found = {
        names.tuning_job("ml-platform", dataset, version, code)
        for dataset in ("breast-cancer", "breast-tissue")
        for version in (builders.VERSION, builders.VERSION[::-1])
        for code in ("a1b2c3", "b1b2c3")
    }
    assert len(found) == 8


def test_a_stack_whose_name_leaves_no_room_is_told_so() -> None:
    assert "deploy a stack whose name has at most 19" in refused(stack_name="s" * 20)
    assert isinstance(planned(stack_name="s" * 19), StartTuning)


# ---- what does not fit ----


def test_the_objective_has_to_be_one_of_the_task() -> None:
    numbers = b"x,target\n" + b"".join(f"{n},{n * 1.5}\n".encode() for n in range(60))
    assert (
        "has \"validation:accuracy\" as 'tuning.objective'; a regression task has validation:loss, validation:rmse"
        in (refused({"objective": "validation:accuracy"}, content=numbers))
    )
    assert isinstance(planned({"objective": "validation:rmse"}, content=numbers), StartTuning)


@pytest.mark.parametrize(
    ("tuning", "instance", "bound"),
    [
        # 20 x 3600 s x 0.23 USD an hour = 4.60, below the stack's 5; with one trial more 4.83; 22 are 5.06
        ({}, None, None),
        ({"max_jobs": 21}, None, None),
        ({"max_jobs": 22}, None, "5.06 USD (22 trials x 3600 s x 0.23"),
        ({"max_jobs": 22, "max_cost_usd": 5.06}, None, None),
        ({"max_cost_usd": 4.59}, None, "4.60 USD (20 trials x 3600 s x 0.23"),
        ({"max_cost_usd": 0.77, "max_runtime_seconds": 600}, None, None),  # 20 x 600 s = 3.33 h: 0.77
        ({"max_cost_usd": 0.76, "max_runtime_seconds": 600}, None, "0.77 USD (20 trials x 600 s x 0.23"),
    ],
)
def test_what_could_cost_more_than_its_ceiling_is_refused_with_the_estimate(
    tuning: Any, instance: str | None, bound: str | None
) -> None:
    decision = planned(tuning)
    assert isinstance(decision, StartTuning if bound is None else RejectDataset)
    if bound is not None:
        assert f"may cost up to {bound}" in decision.reason
        assert "raise 'tuning.max_cost_usd'" in decision.reason


def test_what_has_no_price_is_not_tuned() -> None:
    assert "what that may cost can't be said" in refused(aws_region="eu-south-2")


# ---- warm start ----


def parents(earlier: list[TuningJob], tuning: Any = None, **more: Any) -> list[str]:
    request = with_warm_start(started(tuning, **more), earlier).request
    assert validate("sagemaker", "CreateHyperParameterTuningJob", request) == []
    config = request.get("WarmStartConfig", {})
    assert config.get("WarmStartType", "TransferLearning") == "TransferLearning"
    return [one["HyperParameterTuningJobName"] for one in config.get("ParentHyperParameterTuningJobs", [])]


def test_a_second_tuning_starts_from_the_first_and_says_so() -> None:
    decision = with_warm_start(started(), [tuning_job()])
    assert decision.request["WarmStartConfig"]["ParentHyperParameterTuningJobs"] == [
        {"HyperParameterTuningJobName": TUNING}
    ]
    assert f"It starts from what {TUNING} found." in decision.explanation


@pytest.mark.parametrize(
    ("changed", "fits"),
    [
        ({}, True),
        ({"status": JobStatus.STOPPED}, True),
        ({"status": JobStatus.IN_PROGRESS}, False),
        ({"status": JobStatus.STOPPING}, False),
        ({"best": None}, False),
        ({"objective": "validation:accuracy"}, False),
        ({"ranges": {"learning_rate": "Continuous", "hidden_size": "Integer"}}, False),  # one hyperparameter fewer
        ({"ranges": {"learning_rate": "Continuous", "hidden_size": "Categorical", "batch_size": "Integer"}}, False),
        ({"trials": {"Completed": 480}}, True),
        ({"trials": {"Completed": 481}}, False),  # 20 more would be 501
    ],
)
def test_a_parent_has_to_be_one_that_sagemaker_takes(changed: Mapping[str, Any], fits: bool) -> None:
    assert parents([tuning_job(**changed)]) == ([TUNING] if fits else [])


def test_what_was_tuned_may_be_fixed_now_and_the_other_way_round() -> None:
    assert parents([tuning_job()], hyperparameters={"hidden_size": 96}) == [TUNING]
    assert parents([tuning_job()], hyperparameters={"epochs": 5}) == []  # one more than the parent has


@pytest.mark.parametrize(("choices", "fits"), [({"hidden_size": 10}, True), ({"hidden_size": 11}, False), ({}, True)])
def test_what_had_choices_and_is_fixed_now_counts_each_of_them(choices: Mapping[str, int], fits: bool) -> None:
    parent = tuning_job(ranges={**tuning_job().ranges, "hidden_size": "Categorical"}, choices=choices)
    assert parents([parent], hyperparameters={"hidden_size": 96}) == ([TUNING] if fits else [])


def test_at_most_ten_changes_of_static_values_count_as_the_same() -> None:
    static = dict(tuning_job().static)
    for changes, fits in ((5, True), (6, False)):
        other = static | dict.fromkeys(sorted(static)[:changes], "other")
        assert parents([tuning_job(static=other)]) == ([TUNING] if fits else [])


def test_the_five_newest_are_taken() -> None:
    earlier = [tuning_job(name=f"{TUNING}{n}", created=NOON + timedelta(hours=n)) for n in range(7)]
    assert parents(earlier) == [f"{TUNING}{n}" for n in (6, 5, 4, 3, 2)]
    assert MOST_PARENTS == 5


# ---- money ----


@pytest.mark.parametrize(
    ("trials", "usd"),
    [
        ([], "0"),
        ([trial(billable=600)], "0.0383"),  # 600 of 3600 s at 0.23
        ([trial(minutes=60)], "0.2300"),  # runs since an hour: at full price
        ([trial(started=False)], "0"),
        ([trial(billable=600), trial(minutes=60)], "0.2683"),
    ],
)
def test_trials_cost_what_is_billed_and_at_full_price_while_they_run(trials: list[Run], usd: str) -> None:
    assert round(cost(trials, "us-east-1", NOON + timedelta(hours=1)), 4) == Decimal(usd)


@pytest.mark.parametrize(
    ("changed", "hours", "stops"),
    [
        ({}, 21.7, False),  # 4.991 USD
        ({}, 21.8, True),  # 5.014 USD
        ({"status": JobStatus.STOPPING}, 30, False),
        ({"tags": {}}, 21.8, True),  # the stack's ceiling where the job has none
    ],
)
def test_a_tuning_is_stopped_when_it_has_cost_what_it_may(changed: Any, hours: float, stops: bool) -> None:
    job = tuning_job(**{"status": JobStatus.IN_PROGRESS, **changed})
    planned = plan_ceilings([(job, [trial()])], NOON + timedelta(hours=hours), builders.settings())
    assert [one.tuning_name for one in planned] == ([TUNING] if stops else [])
    if stops:
        assert "has cost 5.01 USD in 1 trials, its ceiling is 5 USD" in planned[0].reason


def test_what_is_not_billed_yet_is_said() -> None:
    assert spending([trial(billable=600)], "us-east-1", NOON) == "Its 1 trials cost 0.0383 USD."
    said = spending([trial(billable=600), trial()], "us-east-1", NOON + timedelta(hours=1))
    assert said.startswith("Its 2 trials cost 0.2683 USD, 1 of them counted at full price")


# ---- the end ----


def test_the_outcome_says_how_the_tuning_went_before_what_became_of_the_model() -> None:
    job = builders.training_job(name=BEST, tuning=TUNING)
    decision = told(plan_deployment(job, builders.card(), None, builders.settings()), tuning_job(), "It cost nothing.")
    assert isinstance(decision, DeployModel)
    assert decision.reason.startswith(
        f"Tuning job {TUNING}: 3 of 3 trials (2 completed, 1 stopped early). The best validation:loss 0.25 has {BEST} "
        "(hidden_size 96, learning_rate 0.001235). It cost nothing. "
    )
    assert decision.model_package["CustomerMetadataProperties"]["tuning_job"] == TUNING


def test_a_tuning_that_was_stopped_says_so() -> None:
    assert "It ended as Stopped." in summary(tuning_job(status=JobStatus.STOPPED))


def test_a_tuning_without_a_usable_trial_is_told_once() -> None:
    job = tuning_job(status=JobStatus.FAILED, best=None, failure_reason="All training jobs failed")
    notice = without_best(job, "Its 3 trials cost 0.1000 USD.")
    assert notice.once == f"models/churn/{TUNING}/outcome.json"
    assert "ended as Failed without a usable trial. All training jobs failed. 3 of 3 trials" in notice.reason


@pytest.mark.parametrize(
    ("changed", "outcome", "said"),
    [
        ({}, False, None),
        ({"status": JobStatus.FAILED}, False, None),
        ({"status": JobStatus.IN_PROGRESS}, False, "is InProgress"),
        ({}, True, "already had its outcome"),
        ({"tags": {}}, False, "is not a tuning job that ml-platform started"),
        ({"tags": {STACK_TAG: "ml-platform"}}, False, "is not a tuning job that ml-platform started"),
    ],
)
def test_only_the_stacks_own_ended_tunings_are_looked_at_and_once(
    changed: Any, outcome: bool, said: str | None
) -> None:
    skip = skip_tuning(tuning_job(**changed), outcome, builders.settings())
    assert (skip is None) if said is None else (skip is not None and said in skip.reason)


def test_a_trial_is_never_deployed_by_itself_whatever_it_is_called() -> None:
    """Even without the fact that it is a trial, its name is not that of a training job of its version."""
    stranger = builders.training_job(name=BEST)
    skip = skip_job(stranger, False, builders.settings())
    assert skip is not None
    assert "is not a training job that ml-platform started" in skip.reason
