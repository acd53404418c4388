"""What the platform's pipelines do: prepare, train, evaluate, compare with a least score, then register or fail.

One definition for each way to train: hyperparameter names are fixed in a definition, and the built-in XGBoost takes
`num_class` for more than two classes only. What differs between executions is a parameter. What differs between stacks
is a parameter too, whose default stands for the stack's own until publish-model-code puts that in its place
(mlplatform/pipelines.py). The steps' files and arguments: docs/pipeline-steps.md.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import boto3
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.model import Model
from sagemaker.model_metrics import MetricsSource, ModelMetrics
from sagemaker.processing import ProcessingInput, ProcessingOutput, Processor
from sagemaker.telemetry import telemetry_logging
from sagemaker.workflow.condition_step import ConditionStep
from sagemaker.workflow.conditions import ConditionGreaterThan
from sagemaker.workflow.execution_variables import ExecutionVariables
from sagemaker.workflow.fail_step import FailStep
from sagemaker.workflow.functions import Join, JsonGet
from sagemaker.workflow.model_step import ModelStep
from sagemaker.workflow.parameters import ParameterFloat, ParameterInteger, ParameterString
from sagemaker.workflow.pipeline import Pipeline
from sagemaker.workflow.pipeline_context import PipelineSession
from sagemaker.workflow.pipeline_definition_config import PipelineDefinitionConfig
from sagemaker.workflow.properties import PropertyFile
from sagemaker.workflow.retry import SageMakerJobExceptionTypeEnum, SageMakerJobStepRetryPolicy
from sagemaker.workflow.steps import CacheConfig, ProcessingStep, TrainingStep

from mlplatform import algorithms, containers, names, pipelines
from mlplatform.facts import DATASET_TAG, STACK_TAG, Task
from mlplatform.training import metric_definitions

# The SDK reports each of its calls to AWS otherwise, which a build must not, and waits where there is no network.
# Its own switch for that has it validate its configuration at each call, which takes five times as long as the rest.
setattr(telemetry_logging, "_send_telemetry_request", lambda *_: None)  # noqa: B010
logging.getLogger("sagemaker").setLevel(logging.ERROR)

_INPUT, _OUTPUT = "/opt/ml/processing/input", "/opt/ml/processing/output"
# What an earlier execution has prepared is used again this long; it is deleted later than that (template.yaml).
_CACHE = CacheConfig(enable_caching=True, expire_after="P7D")


def build(name: str) -> str:
    """The definition called `name` of mlplatform.pipelines.DEFINITIONS, as JSON with sorted keys."""
    definition = json.loads(_Builder(name).pipeline().definition())
    return json.dumps(definition, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


class _Builder:
    def __init__(self, name: str) -> None:
        self._name = name
        self._trains = pipelines.DEFINITIONS[name]
        self._multiclass = name.endswith("-multiclass")
        self._parameters: dict[str, Any] = {}
        self._session = PipelineSession(
            # Never used: no step of ours has a file on this machine.
            boto_session=boto3.Session("none", "none", region_name="us-east-1"),
            default_bucket="artifacts",
        )

    def pipeline(self) -> Pipeline:
        for parameter, default in pipelines.STACK_DEFAULTS.items():
            self._add(parameter, default)
        self._parameters["ApprovalStatus"] = ParameterString(
            "ApprovalStatus", default_value=pipelines.APPROVALS[0], enum_values=list(pipelines.APPROVALS)
        )
        for parameter, default in pipelines.RUN_DEFAULTS.items():
            self._add(parameter, default)
        prepare = self._prepare()
        trained = [self._train_xgboost(prepare)] if "xgboost" in self._trains else []
        trained += [self._train_pytorch(prepare)] if "pytorch" in self._trains else []
        evaluation = PropertyFile(name="Evaluation", output_name="evaluation", path="evaluation.json")
        evaluate = self._evaluate(prepare, trained, evaluation)
        good_enough = ConditionStep(
            name="GoodEnough",
            conditions=[
                ConditionGreaterThan(
                    left=JsonGet(step_name=evaluate.name, property_file=evaluation, json_path="condition.score"),
                    right=self["LeastScore"],
                )
            ],
            if_steps=[self._register(evaluate)],
            else_steps=[self._refuse()],
        )
        return Pipeline(
            name=self._name,
            parameters=list(self._parameters.values()),
            steps=[prepare, *trained, evaluate, good_enough],
            sagemaker_session=self._session,
            # Names that begin with the stack's, as its roles' rights do.
            pipeline_definition_config=PipelineDefinitionConfig(use_custom_job_prefix=True),
            pipeline_experiment_config=None,  # an experiment for each execution, which nobody reads
        )

    def __getitem__(self, parameter: str) -> Any:
        return self._parameters[parameter]

    def _add(self, name: str, default: str | int | float) -> Any:
        kind = {int: ParameterInteger, float: ParameterFloat}.get(type(default), ParameterString)
        self._parameters[name] = kind(name, default_value=default)
        return self._parameters[name]

    # -- steps -----------------------------------------------------------------------------------------------------

    def _prepare(self) -> ProcessingStep:
        reading = {
            "--label_column": self["LabelColumn"].to_string(),
            "--header": self["Header"],
            "--delimiter": self["Delimiter"],
            "--encoding": self["Encoding"],
            "--task": self["Task"],
            "--seed": self["Seed"].to_string(),
        }
        prepared = Join(on="/", values=[self["ArtifactsUri"], "prepared", self["Dataset"], _execution()])
        return ProcessingStep(
            name="Prepare",
            step_args=self._processor("prepare").run(
                inputs=[self._code(), _input("dataset", self["ManifestUri"], "ManifestFile")],
                outputs=[_output(name, prepared) for name in ("train", "validation", "prepared")],
                arguments=[text for pair in reading.items() for text in pair],
            ),
            property_files=[PropertyFile(name="Summary", output_name="prepared", path="summary.json")],
            cache_config=_CACHE,
            retry_policies=_retries(),
        )

    def _train_xgboost(self, prepare: ProcessingStep) -> TrainingStep:
        hyperparameters: dict[str, Any] = {}
        for name, value in algorithms.xgboost_hyperparameters(Task.REGRESSION, {}).items():
            parameter = pipelines.parameter(name)
            known = self._parameters.get(parameter)  # the seed is Prepare's as well
            hyperparameters[name] = (known or self._add(parameter, value)).to_string()
        if self._multiclass:
            classes = JsonGet(step_name=prepare.name, property_file="Summary", json_path="classes")
            hyperparameters["num_class"] = classes.to_string()
        outputs = prepare.properties.ProcessingOutputConfig.Outputs
        return TrainingStep(
            name="TrainXgboost",
            step_args=self._estimator("xgboost", self["XgboostImage"], hyperparameters).fit(
                {
                    name: TrainingInput(outputs[name].S3Output.S3Uri, content_type="text/csv")
                    for name in ("train", "validation")
                }
            ),
            cache_config=_CACHE,
            retry_policies=_retries(),
        )

    def _train_pytorch(self, prepare: ProcessingStep) -> TrainingStep:
        """As start-training's own request has it (mlplatform/training.py), which explains the quotes.

        It reads the dataset itself, but not before the whole of that was found to be good.
        """
        quoted = {"header": self["Header"], **self._toolkit()}
        hyperparameters = {
            "label_column": self["LabelColumn"].to_string(),
            "delimiter": self["Delimiter"],
            "encoding": self["Encoding"],
            "task": self["Task"],
            "wishes": self["Hyperparameters"],
            **{name: Join(on="", values=['"', value, '"']) for name, value in quoted.items()},
            "sagemaker_container_log_level": "20",
        }
        definitions = [one for task in (Task.BINARY, Task.REGRESSION) for one in metric_definitions(task)]
        return TrainingStep(
            name="TrainPytorch",
            step_args=self._estimator(
                "pytorch",
                self["TrainingImage"],
                hyperparameters,
                metric_definitions=[one for n, one in enumerate(definitions) if one not in definitions[:n]],
            ).fit(
                {"dataset": TrainingInput(self["ManifestUri"], s3_data_type="ManifestFile", content_type="text/csv")}
            ),
            depends_on=[prepare],
            cache_config=_CACHE,
            retry_policies=_retries(),
        )

    def _evaluate(
        self, prepare: ProcessingStep, trained: list[TrainingStep], evaluation: PropertyFile
    ) -> ProcessingStep:
        prepared = prepare.properties.ProcessingOutputConfig.Outputs["prepared"].S3Output.S3Uri
        inputs = [self._code(), _input("prepared", prepared), _input("live_model", self["LiveModelUri"])]
        arguments: list[Any] = ["--model_version", self["ModelName"]]
        for step in trained:
            kind = step.name.removeprefix("Train").lower()
            inputs.append(_input(kind, step.properties.ModelArtifacts.S3ModelArtifacts))
            arguments += [f"--{kind}_seconds", step.properties.BillableTimeInSeconds.to_string()]
            arguments += [f"--{kind}_usd_per_hour", self["TrainingUsdPerHour"].to_string()]
        outputs = Join(on="/", values=[self["ArtifactsUri"], "training-output", self["ModelName"], _execution()])
        return ProcessingStep(
            name="Evaluate",
            step_args=self._processor("evaluate").run(
                inputs=inputs,
                outputs=[_output(name, outputs) for name in ("evaluation", "model")],
                arguments=arguments,
            ),
            property_files=[evaluation],
            retry_policies=_retries(),
        )

    def _register(self, evaluate: ProcessingStep) -> ModelStep:
        outputs = evaluate.properties.ProcessingOutputConfig.Outputs
        statistics = Join(on="/", values=[outputs["evaluation"].S3Output.S3Uri, "evaluation.json"])
        model = Model(
            image_uri=self["InferenceImage"],
            model_data=Join(on="/", values=[outputs["model"].S3Output.S3Uri, "model.tar.gz"]),
            role=self["TrainingRoleArn"],
            env=containers.inference_environment(self["Region"]),
            sagemaker_session=self._session,
        )
        return ModelStep(
            name="Register",
            step_args=model.register(
                content_types=["application/json", "text/csv"],
                response_types=["application/json", "text/csv"],
                inference_instances=[self["InferenceInstanceType"]],
                model_package_group_name=Join(on="-", values=[self["Stack"], self["Dataset"]]),
                approval_status=self["ApprovalStatus"],
                description=Join(on="", values=["Trained by ", self["ModelName"], "."]),
                model_metrics=ModelMetrics(
                    model_statistics=MetricsSource(content_type="application/json", s3_uri=statistics)
                ),
                # The platform's gate goes by these when it judges what was registered (mlplatform/registry.py).
                customer_metadata_properties={
                    "dataset": self["Dataset"],
                    "dataset_version": self["DatasetVersion"],
                    "manifest": self["ManifestUri"],
                    "code": self["CodeUri"],
                    "training_job": self["ModelName"],
                    "compared_with": self["LiveModelUri"],
                    "hosting": self["Hosting"],
                    "execution": ExecutionVariables.PIPELINE_EXECUTION_ID,
                },
            ),
        )

    def _refuse(self) -> FailStep:
        said = ["The model of", self["Dataset"], "version", self["DatasetVersion"]]
        said += ["is not registered: on its test rows it is no better than", self["LeastScore"].to_string()]
        return FailStep(name="NotGoodEnough", error_message=Join(on=" ", values=said))

    # -- jobs ------------------------------------------------------------------------------------------------------

    def _processor(self, script: str) -> Processor:
        return Processor(
            role=self["TrainingRoleArn"],
            image_uri=self["XgboostImage"],
            instance_count=1,
            instance_type=self["ProcessingInstanceType"],
            entrypoint=["python3", f"{_INPUT}/code/{script}.py"],
            volume_size_in_gb=self["VolumeGib"],
            max_runtime_in_seconds=self["TrainingMaxRuntimeSeconds"],
            base_job_name=f"{pipelines.STACK_DEFAULTS['Stack']}-{script}",
            sagemaker_session=self._session,
            tags=self._tags(),
        )

    def _estimator(self, algorithm: str, image: Any, hyperparameters: Mapping[str, Any], **more: Any) -> Estimator:
        checkpoints = Join(
            on="/", values=[self["ArtifactsUri"], "checkpoints", self["Dataset"], self["CheckpointName"], algorithm]
        )
        return Estimator(
            image_uri=image,
            role=self["TrainingRoleArn"],
            instance_count=1,
            instance_type=self["TrainingInstanceType"],
            volume_size=self["VolumeGib"],
            max_run=self["TrainingMaxRuntimeSeconds"],
            max_wait=self["TrainingMaxWaitSeconds"],
            use_spot_instances=True,
            checkpoint_s3_uri=checkpoints,
            checkpoint_local_path="/opt/ml/checkpoints",
            output_path=Join(on="/", values=[self["ArtifactsUri"], "training-output"]),
            hyperparameters=dict(hyperparameters),
            base_job_name=f"{pipelines.STACK_DEFAULTS['Stack']}-{algorithm}",
            sagemaker_session=self._session,
            disable_profiler=True,
            debugger_hook_config=False,
            disable_output_compression=False,
            tags=self._tags(),
            **more,
        )

    def _toolkit(self) -> dict[str, Any]:
        return {
            "sagemaker_program": "train.py",
            "sagemaker_submit_directory": Join(on="/", values=[self["CodeUri"], "sourcedir.tar.gz"]),
            "sagemaker_region": self["Region"],
        }

    def _code(self) -> ProcessingInput:
        return _input("code", Join(on="/", values=[self["CodeUri"], "source/"]))

    def _tags(self) -> list[dict[str, Any]]:
        tags = {key: self[key] for key in ("Project", "Environment", "CostCenter", "Owner")}
        tags |= {STACK_TAG: self["Stack"], DATASET_TAG: self["Dataset"]}
        tags |= {names.VERSION_TAG: self["DatasetVersion"], names.HOSTING_TAG: self["Hosting"]}
        return [{"Key": key, "Value": value} for key, value in tags.items()]


def _execution() -> Any:
    return ExecutionVariables.PIPELINE_EXECUTION_ID


def _retries() -> list[SageMakerJobStepRetryPolicy]:
    kinds = SageMakerJobExceptionTypeEnum
    return [
        SageMakerJobStepRetryPolicy(
            exception_types=[kinds.INTERNAL_ERROR, kinds.CAPACITY_ERROR],
            interval_seconds=60,
            backoff_rate=2.0,
            max_attempts=3,
        )
    ]


def _input(name: str, source: Any, kind: str = "S3Prefix") -> ProcessingInput:
    return ProcessingInput(
        input_name=name,
        source=source,
        destination=f"{_INPUT}/{name}",
        s3_data_type=kind,
        s3_input_mode="File",
    )


def _output(name: str, below: Any) -> ProcessingOutput:
    return ProcessingOutput(
        output_name=name,
        source=f"{_OUTPUT}/{name}",
        destination=Join(on="/", values=[below, name]),
        s3_upload_mode="EndOfJob",
    )
