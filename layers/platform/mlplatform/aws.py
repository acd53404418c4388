"""The layer's way to AWS in one class: reads facts, and applies decisions. The calls are in aws_calls.py."""

from __future__ import annotations

from typing import assert_never

from mlplatform.aws_ab_tests import AbTestCalls
from mlplatform.aws_cost_tags import CostTagCalls
from mlplatform.aws_deployments import DeploymentCalls
from mlplatform.aws_governance import GovernanceCalls
from mlplatform.aws_others import OtherCalls
from mlplatform.aws_pipelines import PipelineCalls
from mlplatform.aws_quotas import QuotaCalls
from mlplatform.aws_reports import ReportCalls
from mlplatform.aws_scaling import ScalingCalls
from mlplatform.aws_smoke_tests import SmokeTestCalls
from mlplatform.aws_spend import SpendCalls
from mlplatform.aws_ticks import TickCalls
from mlplatform.aws_traffic import TrafficCalls
from mlplatform.aws_training import TrainingCalls
from mlplatform.aws_tuning import TuningCalls
from mlplatform.decisions import (
    AbandonMove,
    ActivateCostTags,
    AskApproval,
    ChangeInPlace,
    ClearFailedStart,
    ConfigureAutoscaling,
    Decision,
    DeployModel,
    EndAbTest,
    EndEndpoint,
    EndResource,
    FinishDeployment,
    ForgetParking,
    HoldDataset,
    HoldLaunches,
    KeepLiveModel,
    LiftHold,
    MakeComponent,
    Notify,
    RecordLineage,
    RecordSaving,
    RecordSpend,
    Refuse,
    RejectDataset,
    RejectUpdate,
    ReportCosts,
    ReportUntagged,
    RestoreCapacity,
    RestoreEndpoint,
    RetireStandIn,
    ShareTraffic,
    Skip,
    StartAbTest,
    StartEndpoint,
    StartMove,
    StartPipeline,
    StartTraining,
    StartTuning,
    StopEndpoint,
    StopTuning,
    SwitchOver,
    TagResource,
    WarnOfEnd,
)


class Aws(
    DeploymentCalls,
    AbTestCalls,
    ScalingCalls,
    GovernanceCalls,
    SmokeTestCalls,
    TrafficCalls,
    TrainingCalls,
    TuningCalls,
    PipelineCalls,
    SpendCalls,
    ReportCalls,
    CostTagCalls,
    TickCalls,
    QuotaCalls,
    OtherCalls,
):
    """One account and region, as one function's role sees them."""

    def apply(self, decision: Decision) -> Decision:
        """Does what was decided, so that doing it again changes nothing; returns what it came to.

        That is the decision itself, or Skip where another copy of the event was quicker. What was not finished
        before an error is finished when the event comes again: whatever marks it as done is written last.
        """
        match decision:
            case Skip() | Refuse() | ReportUntagged():
                return decision
            case Notify():
                return self._notify(decision)
            case StartTraining():
                return self._start_training(decision)
            case StartPipeline():
                return self._start_pipeline(decision)
            case StartTuning():
                return self._start_tuning(decision)
            case StopTuning():
                return self._stop_tuning(decision)
            case RejectDataset():
                return self._reject(decision)
            case DeployModel():
                return self._deploy(decision)
            case KeepLiveModel():
                return self._finish(self._registered(decision))
            case AskApproval():
                return self._finish(self._registered(decision))
            case FinishDeployment():
                return self._finish_deployment(decision)
            case MakeComponent():
                return self._make_component(decision)
            case ChangeInPlace():
                return self._change_in_place(decision)
            case StartMove():
                return self._start_move(decision)
            case SwitchOver():
                return self._switch_over(decision)
            case RetireStandIn():
                return self._retire_stand_in(decision)
            case AbandonMove():
                return self._abandon_move(decision)
            case StartAbTest():
                return self._start_ab_test(decision)
            case ShareTraffic():
                return self._share_traffic(decision)
            case EndAbTest():
                return self._end_ab_test(decision)
            case RejectUpdate():
                return self._reject_update(decision)
            case ConfigureAutoscaling():
                return self._configure_autoscaling(decision)
            case StopEndpoint():
                return self._stop_endpoint(decision)
            case StartEndpoint():
                return self._start_endpoint(decision)
            case ClearFailedStart():
                return self._clear_failed_start(decision)
            case RestoreCapacity():
                return self._restore_capacity(decision)
            case RestoreEndpoint():
                return self._restore_endpoint(decision)
            case ForgetParking():
                return self._forget_parking(decision)
            case ReportCosts():
                return self._report_costs(decision)
            case RecordLineage():
                return self._record_lineage(decision)
            case RecordSaving():
                return self._record_saving(decision)
            case RecordSpend():
                return self._record_spend(decision)
            case HoldLaunches():
                return self._hold_launches(decision)
            case LiftHold():
                return self._lift_hold(decision)
            case HoldDataset():
                return self._hold_dataset(decision)
            case ActivateCostTags():
                return self._activate_cost_tags(decision)
            case EndResource():
                return self._end_resource(decision)
            case WarnOfEnd():
                return self._warn_of_end(decision)
            case EndEndpoint():
                return self._end_endpoint(decision)
            case TagResource():
                return self._tag_resource(decision)
            case _:
                assert_never(decision)

    # ---- objects and secrets ----

    def artifact_exists(self, key: str) -> bool:
        return self._object_exists(self._settings.artifact_bucket, key)

    def put_object(self, bucket: str, key: str, content: bytes) -> None:
        """Raises AwsError."""
        self._call("s3", "put_object", Bucket=bucket, Key=key, Body=content)

    def read_secret(self, parameter: str) -> str | None:
        """An SSM SecureString, decrypted; None where there is none."""
        found = self._found("ssm", "get_parameter", Name=parameter, WithDecryption=True)
        return None if found is None else str(found["Parameter"]["Value"])
