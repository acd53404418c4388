"""What an approval or a rejection in the model registry comes to, whoever gave it: `mlp`, the console, any client.

Events of packages come more than once, late, and for every change of a package's metadata. One is acted upon where it
says that the approval changed and the package still says so; that it was is remembered under names.release_key, so
that the same event never deploys again, while the same package can be approved again, which is a rollback.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlplatform import approval, names, registry
from mlplatform.decisions import AskApproval, DeployModel, Notify, Request, Skip
from mlplatform.deployment import Live, Model, deployment
from mlplatform.facts import Approval, ModelCard, ModelPackage, PackageChanged, UnreadableCard
from mlplatform.model_cost import wished_hosting_cost
from mlplatform.settings import Settings


@dataclass(frozen=True)
class Known:
    """What is there at the moment a changed package is looked at."""

    live: Live | None
    live_version: int | None  # of the live model's package, where it is known
    card: ModelCard | UnreadableCard | None  # the changed package's model


def skip_package(
    package: ModelPackage | None, changed: PackageChanged, acted_upon: bool, settings: Settings
) -> Skip | None:
    """Why this event needs nothing done; None if it does."""
    name = registry.spoken(changed.arn, settings.stack_name)
    if registry.dataset_of(changed.group, settings.stack_name) is None:
        return Skip(f"{changed.group} is not a model package group of {settings.stack_name}.")
    if package is None:
        return Skip(f"Model package {name} is gone.")
    if changed.fields is not None and "ModelApprovalStatus" not in changed.fields:
        return Skip(f"Of model package {name} only {', '.join(changed.fields)} changed, which deploys nothing.")
    if package.approval is not changed.approval:
        return Skip(
            f"Model package {name} is {package.approval.value} meanwhile, and no longer {changed.approval.value}; the "
            "event of that decides."
        )
    if changed.new and "gate" in package.properties:
        return Skip(f"Model package {name} was registered by the gate, which does itself what follows from that.")
    if acted_upon:
        return Skip(f"That model package {name} is {package.approval.value} was acted upon; the event came again.")
    return None


def plan_release(
    package: ModelPackage, changed: PackageChanged, known: Known, settings: Settings
) -> Skip | Notify | AskApproval | DeployModel:
    """For a changed package that skip_package let through. Raises TryAgain while the endpoint is being deleted."""
    name = registry.spoken(package.arn, settings.stack_name)
    dataset = registry.dataset_of(package.group, settings.stack_name) or ""
    key = names.release_key(dataset, package.version, changed.stamp)
    model = registry.model_name(package)
    running = _runs(known.live, model)
    if package.approval is Approval.REJECTED:
        return _rejected(package, name, dataset, running, key)
    card = known.card if isinstance(known.card, ModelCard) else None
    tags = {names.HOSTING_TAG: package.properties.get("hosting", "")}
    cost = wished_hosting_cost(tags, settings)
    serving = known.live if known.live and not known.live.endpoint.dead else None
    differs = tuple(approval.difference(card, serving.endpoint if serving else None, cost, settings))
    if package.approval is Approval.PENDING:
        if not changed.new:
            return Skip(f"Model package {name} was set back to {package.approval.value}; what is live stays.")
        reason = f"Model package {name} was registered and waits for a person's approval."
        return AskApproval(reason, dataset, model, None, card, differs, package.arn, once=key)
    if running:
        return Skip(f"Model package {name} is approved, and {'parked' if running.parked else 'live'} already.")
    if not registry.passed_gate(package) and "forced_by" not in package.properties:
        return Notify(
            f"Model package {name} was approved, but it failed its gate, so that it is not deployed: "
            f"{package.description} To deploy it all the same: mlp approve {name} --force --reason TEXT",
            f"Approval of {name} was not acted upon",
            key,
        )
    if not isinstance(known.card, ModelCard):
        wrong = known.card.explanation if known.card else f"there is nothing at {package.artifact_uri}"
        return Notify(
            f"Model package {name} was approved, but its model can't be used: {wrong}. What is live stays.",
            f"Model {name} can't be used",
            key,
        )
    expensive = approval.too_expensive(cost, settings) if changed.new else None
    if expensive is not None:
        reason = f"Model package {name} was registered as approved, but waits for a person, because {expensive}."
        hold = {
            "ModelPackageArn": package.arn,
            "ModelApprovalStatus": Approval.PENDING.value,
            "ApprovalDescription": reason[:1024],
        }
        return AskApproval(reason, dataset, model, None, card, differs, package.arn, hold, once=key)
    return deployment(
        _why(package, name, known, changed),
        Model(dataset, model, _container(package), tags[names.HOSTING_TAG]),
        known.live,
        settings,
        card=card,
        difference=differs,
        package=package.arn,
        release=key,
    )


def _runs(live: Live | None, model: str) -> Live | None:
    """The live endpoint, where it runs that model or is on the way to it."""
    if live is None or live.endpoint.dead:
        return None
    wanted = live.endpoint.tags.get(names.WANTED_TAG, live.endpoint.model_name)
    return live if wanted == model else None


def _rejected(package: ModelPackage, name: str, dataset: str, running: Live | None, key: str) -> Skip | Notify:
    if running is None or "rolled_back_to" in package.properties:
        return Skip(f"Model package {name} was rejected; it is not live, so that nothing changes.")
    return Notify(
        f"Model package {name} was rejected ({package.approval_description or 'no reason was given'}), but it is live, "
        f"and stays so until another one is: a rejection stops no endpoint. To go back to the model before it: "
        f"mlp rollback {dataset}",
        f"The live model of {dataset} was rejected",
        key,
    )


def _why(package: ModelPackage, name: str, known: Known, changed: PackageChanged) -> str:
    by = package.properties.get("approved_by")
    who = f" by {by}" if by else ""
    forced = ", although it failed its gate" if not registry.passed_gate(package) else ""
    said = f" ({package.approval_description.rstrip('.')})" if package.approval_description and not changed.new else ""
    what = f"Model package {name} was {'registered as ' if changed.new else ''}approved{who}{forced}{said}"
    if known.live_version is not None and package.version < known.live_version:
        return f"{what}; it is older than the live version {known.live_version}, so that this is a rollback to it."
    if known.live is None:
        return f"{what}; it goes live."
    return f"{what}; it replaces {known.live.endpoint.model_name}."


def _container(package: ModelPackage) -> Request:
    """As it was registered: an image that is replaced by a newer one could not read an old artifact."""
    return {"Image": package.image, "ModelDataUrl": package.artifact_uri, "Environment": dict(package.environment)}
