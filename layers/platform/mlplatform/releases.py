"""What an approval or a rejection in the model registry comes to, whoever gave it: `mlp`, the console, any client.

Events of packages come more than once, late, and for every change of a package's metadata. One is acted upon where it
says that the approval changed and the package still says so; that it was is remembered under names.release_key, so
that the same event never deploys again, while the same package can be approved again, which is a rollback.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from mlplatform import approval, kinds, names, registry
from mlplatform.decisions import AskApproval, DeployModel, KeepLiveModel, Notify, Skip
from mlplatform.deployment import Candidate, Live, Model, deployment, is_begun, judge, judged_before
from mlplatform.events import ON_ITS_WAY
from mlplatform.facts import STACK_TAG, Approval, ModelCard, ModelPackage, PackageChanged, UnreadableCard
from mlplatform.model_cost import wished_hosting_cost
from mlplatform.records import dataclass
from mlplatform.settings import Settings

_FORGOTTEN = timedelta(days=14)
FOUND = "found"  # the stamp of an approval whose event was lost
_ANSWERED_FOR = frozenset({"gate", "approved_by", "forced_by"})  # properties of a package


@dataclass(frozen=True)
class Known:
    """What is there at the moment a changed package is looked at."""

    live: Live | None
    live_version: int | None  # of the live model's package, where it is known
    card: ModelCard | UnreadableCard | None  # the changed package's model


def as_it_was(package: ModelPackage | None, changed: PackageChanged) -> ModelPackage | None:
    """The package without what was written on it because of this very change of it.

    A function that ended between that and what was to follow from it has to go on with the same event.
    """
    if package is None or package.properties.get(registry.JUDGED) != changed.stamp:
        return package
    properties = {key: one for key, one in package.properties.items() if key not in {"gate", registry.JUDGED}}
    return replace(package, approval=changed.approval, properties=properties)


def as_it_is(package: ModelPackage | None, changed: PackageChanged) -> PackageChanged:
    """The event, with what the package itself says of being new.

    No sample of AWS's tells how the event of a new package differs from that of a change, and to mistake one would
    deploy a model unjudged. So a package that the gate has not judged, and that nobody has answered for, is new; but
    for an event that names other fields alone, which says nothing of the approval.
    """
    elsewhere = bool(changed.fields) and "ModelApprovalStatus" not in (changed.fields or ())
    if package is None or elsewhere or _ANSWERED_FOR & set(package.properties):
        return changed
    return replace(changed, new=True, fields=None)


def skip_package(
    package: ModelPackage | None, changed: PackageChanged, acted_upon: bool, settings: Settings
) -> Skip | None:
    """Why this event needs nothing done; None if it does."""
    name = registry.spoken(changed.arn, settings.stack_name)
    if registry.dataset_of(changed.group, settings.stack_name) is None:
        return Skip(f"{changed.group} is not a model package group of {settings.stack_name}.")
    if package is None:
        return Skip(f"Model package {name} is gone.")
    if package.tags.get(STACK_TAG, settings.stack_name) != settings.stack_name:
        return Skip(f"{changed.group} belongs to the stack {package.tags[STACK_TAG]}, whose name begins alike.")
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


def lost_approval(package: ModelPackage, acted_upon: bool, now: datetime) -> PackageChanged | None:
    """The event of a group's newest approval, should it have been lost; None where nothing says so.

    Young approvals are left to their event, which may be on its way. Nobody waits for old ones: they are from a time
    when nothing was remembered of them.
    """
    age = now - package.modified
    if acted_upon or package.approval is not Approval.APPROVED or not ON_ITS_WAY < age < _FORGOTTEN:
        return None
    return PackageChanged(
        package.arn, package.group, package.version, package.approval, new=False, fields=None, stamp=FOUND
    )


def plan_release(
    package: ModelPackage, changed: PackageChanged, known: Known, settings: Settings
) -> Skip | Notify | KeepLiveModel | AskApproval | DeployModel:
    """For a changed package that skip_package let through. Raises TryAgain while the endpoint is being deleted."""
    name = registry.spoken(package.arn, settings.stack_name)
    dataset = registry.dataset_of(package.group, settings.stack_name) or ""
    told = names.asked_key(dataset, package.version, changed.stamp)
    begun = _is_begun(known.live, dataset, package, changed)
    running = None if begun else _runs(known.live, registry.model_name(package))
    if package.approval is Approval.REJECTED:
        return _rejected(package, name, dataset, running, told)
    if package.approval is Approval.PENDING and not changed.new:
        return Skip(f"Model package {name} was set back to {package.approval.value}; what is live stays.")
    if running:
        return Skip(f"Model package {name} is approved, and {'parked' if running.parked else 'live'} already.")
    if not changed.new and not registry.passed_gate(package) and "forced_by" not in package.properties:
        return Notify(
            f"Model package {name} was approved, but it failed its gate, so that it is not deployed: "
            f"{registry.gate_said(package)} To deploy it all the same: mlp approve {name} --force --reason TEXT",
            f"Approval of {name} was not acted upon",
            told,
        )
    if not isinstance(known.card, ModelCard):
        wrong = known.card.explanation if known.card else f"there is nothing at {package.artifact_uri}"
        return Notify(
            f"Model package {name} is {package.approval.value}, but its model can't be used: {wrong}. What is live "
            "stays.",
            f"Model {name} can't be used",
            told,
        )
    if changed.new:
        return _judge(package, name, known, known.card, changed.stamp, settings, begun=begun)
    return _deploy(_why(package, name, known), package, known, known.card, changed.stamp, settings)


def _judge(
    package: ModelPackage,
    name: str,
    known: Known,
    card: ModelCard,
    stamp: str,
    settings: Settings,
    *,
    begun: bool,
) -> KeepLiveModel | AskApproval | DeployModel:
    """The gate, for what was registered by something that left the judgement to it: a pipeline, or people."""
    serving = known.live if known.live and not known.live.endpoint.dead else None
    # Metrics that have the live model's score were made beside it; who does not say which one it was means this one.
    compared = package.properties.get("compared_with")
    if compared is None and card.metrics.live_score is not None and serving is not None:
        compared = serving.endpoint.artifact_uri
    candidate = Candidate(name, package.created, compared)
    good, finding, action = judge(candidate, card.metrics, serving)
    if begun:
        good, (finding, action) = True, judged_before(candidate, card.metrics)
    finding = f"{card.metrics.choice} {finding}".lstrip()
    dataset, model = registry.dataset_of(package.group, settings.stack_name) or "", registry.model_name(package)
    told = names.asked_key(dataset, package.version, stamp)
    cost = wished_hosting_cost({names.HOSTING_TAG: package.properties.get("hosting", "")}, settings)
    found = registry.findings(card, cost)
    if not good:
        reason = f"{finding}; {action}."
        update = registry.verdict(package.arn, found, stamp, Approval.REJECTED, reason)
        return KeepLiveModel(reason, dataset, model, None, card, package.arn, update=update, release=told)
    ask = approval.why_ask(
        card,
        serving.card if serving else None,
        cost,
        settings,
        serving=serving is not None,
        requested="asked" in package.properties,
        tested=names.challenger_wishes(serving.endpoint.tags) if serving else None,
    )
    if begun or (ask is None and package.approval is Approval.APPROVED):
        decision = _deploy(f"{finding}; {action}.", package, known, card, stamp, settings)
        return replace(decision, update=registry.judgement(package.arn, found, stamp, passed=True))
    why = ask.reason if ask else "it was registered to wait for that"
    reason = f"{finding}; it waits for a person's approval, because {why}."
    return AskApproval(
        reason,
        dataset,
        model,
        None,
        card,
        tuple(approval.difference(card, serving.endpoint if serving else None, cost, settings)),
        package.arn,
        update=registry.verdict(package.arn, found, stamp, Approval.PENDING, reason, ask.kinds if ask else "requested"),
        release=told,
    )


def _deploy(
    reason: str,
    package: ModelPackage,
    known: Known,
    card: ModelCard,
    stamp: str,
    settings: Settings,
) -> DeployModel:
    dataset, hosting = (
        registry.dataset_of(package.group, settings.stack_name) or "",
        package.properties.get("hosting", ""),
    )
    serving = known.live.endpoint if known.live and not known.live.endpoint.dead else None
    if serving is not None and known.live_version is not None and package.version < known.live_version:
        hosting = kinds.as_live(hosting, serving)
    cost = wished_hosting_cost({names.HOSTING_TAG: hosting}, settings)
    return deployment(
        reason,
        packaged(package, dataset),
        known.live,
        settings,
        card=card,
        difference=tuple(approval.difference(card, serving, cost, settings)),
        package=package.arn,
        release=names.release_key(dataset, package.version, stamp),
    )


def packaged(package: ModelPackage, dataset: str) -> Model:
    """The model of a package as it was registered: a newer image could not read an old artifact."""
    container = {
        "Image": package.image,
        "ModelDataUrl": package.artifact_uri,
        "Environment": dict(package.environment),
    }
    return Model(dataset, registry.model_name(package), container, package.properties.get("hosting", ""))


def _is_begun(live: Live | None, dataset: str, package: ModelPackage, changed: PackageChanged) -> bool:
    """Whether this change of the package is what the endpoint is on its way to its model for, as it says itself: the
    function ended before it could remember, and tell, that it is done."""
    if live is None or live.endpoint.dead or not is_begun(live, registry.model_name(package)):
        return False
    release = live.endpoint.tags.get(names.RELEASE_TAG, "")
    if changed.stamp == FOUND:
        return release.startswith(names.releases_prefix(dataset, package.version))
    return release == names.release_key(dataset, package.version, changed.stamp)


def _runs(live: Live | None, model: str) -> Live | None:
    """The live endpoint, where it runs that model or is on the way to it."""
    if live is None or live.endpoint.dead:
        return None
    endpoint = live.endpoint
    wanted = endpoint.tags.get(names.WANTED_TAG, endpoint.model_name)
    # Asked for and in service, but not with it: the update failed, and may be tried again.
    failed = endpoint.status == "InService" and wanted not in {endpoint.config_name, endpoint.model_name}
    failed = failed or (endpoint.component is not None and endpoint.component.status == "Failed")
    return live if wanted == model and not (failed and wanted == endpoint.tags.get(names.ASKED_TAG)) else None


def _rejected(package: ModelPackage, name: str, dataset: str, running: Live | None, key: str) -> Skip | Notify:
    if running is None or "rolled_back_to" in package.properties:
        return Skip(f"Model package {name} was rejected; it is not live, so that nothing changes.")
    return Notify(
        f"Model package {name} was rejected ({registry.person_said(package) or 'no reason was given'}), but it is "
        f"live, and stays so until another one is: a rejection stops no endpoint. To go back to the model before it: "
        f"mlp rollback {dataset}",
        f"The live model of {dataset} was rejected",
        key,
    )


def _why(package: ModelPackage, name: str, known: Known) -> str:
    by = f" by {package.properties['approved_by']}" if "approved_by" in package.properties else ""
    forced = ", although it failed its gate" if not registry.passed_gate(package) else ""
    words = registry.person_said(package).rstrip(".")
    said = f" ({words})" if words else ""
    what = f"Model package {name} was approved{by}{forced}{said}"
    if known.live_version is not None and package.version < known.live_version:
        return f"{what}; it is older than the live version {known.live_version}, so that this is a rollback to it."
    if known.live is None:
        return f"{what}; it goes live."
    return f"{what}; it replaces {known.live.endpoint.model_name}."
