"""What is good but has to wait for what only people mend: a quota that is raised, a role or a bucket put back. Pure.

Where the account's own word or SageMaker's refusal says that no attempt can succeed before, nothing is lost: a drop's
version stays open, and a model waits for an approval, by which time there is what it lacked.
"""

from __future__ import annotations

from mlplatform import names, registry
from mlplatform.decisions import (
    AskApproval,
    DeployModel,
    HoldDataset,
    Refuse,
    StartPipeline,
    StartTraining,
    StartTuning,
)
from mlplatform.errors import AwsError
from mlplatform.facts import Approval

# Why one waits: a drop's period, where others wait for the end of a day or month, and a package's `asked`.
QUOTA, MISSING, REGION = "quota", "missing", "region"
ASK_FOR_MORE = "Ask for more in the Service Quotas console, under Amazon SageMaker"

Launch = StartTraining | StartTuning | StartPipeline


def held(decision: Launch, why: str, cause: str) -> HoldDataset:
    """What a good drop comes to; `why` follows "waits" and ends before "; then drop it again"."""
    return HoldDataset(
        reason=(
            f"{decision.dataset} version {decision.version} is good to train on, but waits{why}; then drop it again, "
            "or run `mlp costs resume`, which starts what waits."
        ),
        dataset=decision.dataset,
        version=decision.version,
        period=cause,
    )


def held_by(decision: Launch, error: AwsError) -> HoldDataset | None:
    """The same where AWS refused the launch itself; None where the error is no reason to wait.

    What else runs counts towards a quota too, so that one may be reached that is large enough.
    """
    if error.missing:
        return held(decision, f". {error.missing}", MISSING)
    if error.limit_reached:
        said = error.aws_message.rstrip(".")
        return held(decision, f": SageMaker says: {said}. {ASK_FOR_MORE}, or wait until other jobs have ended", QUOTA)
    return None


def asked(decision: DeployModel, why: str, cause: str) -> AskApproval:
    """The model is as good as it was, and is deployed when a person approves it. `why` is a clause."""
    goes_on = " What serves now goes on." if decision.exists else ""
    reason = f"{decision.reason} But not yet: {why}.{goes_on}"
    registered, update = decision.model_package, None
    if registered is not None:
        known = {**registered["CustomerMetadataProperties"], "asked": cause}
        begins = registry.package_description(decision.job_name)
        registered = {
            **registered,
            "ModelApprovalStatus": Approval.PENDING.value,
            "ModelPackageDescription": registry.one_line(f"{begins} {reason}"),
            "CustomerMetadataProperties": known,
        }
    if decision.package:
        found = (decision.update or {}).get("CustomerMetadataProperties", {})
        update = registry.waits(decision.package, {**found, "asked": cause}, reason)
    return AskApproval(
        reason,
        decision.dataset,
        decision.job_name,
        model_package=registered,
        card=decision.card,
        difference=decision.difference,
        package=decision.package,
        update=update,
        release=names.asked_instead(decision.release) if decision.release else "",
    )


def asked_by(decision: DeployModel, error: AwsError) -> AskApproval | None:
    """The same where AWS refused the deployment of what is registered already; None where the error is no reason."""
    if error.missing:
        return asked(decision, f"{error.missing}, and approve it then", MISSING)
    if error.no_zero:
        return asked(
            decision, f"{error.no_zero}. Set another hosting.kind in job.json, and drop the data again", REGION
        )
    if error.limit_reached:
        said = error.aws_message.rstrip(".")
        return asked(decision, f"SageMaker says: {said}; approve it once that is mended", QUOTA)
    return None


def refused_by(error: AwsError) -> Refuse | None:
    """What an A/B test comes to where SageMaker refused its update: nothing waits, and the person asks again."""
    if error.limit_reached:
        return Refuse(f"SageMaker gives no instances for a challenger: {error.aws_message}")
    return None
