"""What is old, orphaned or badly tagged among the things that the stack's functions made, and what to do about it.

Only what carries the stack's tag is looked at, so that nothing of anybody else's is ever touched, and a tag
`ml-platform:keep` keeps any one thing: `always`, or up to a day such as 2026-12-24.

- **Age.** In Environment dev, an endpoint whose model has been deployed for more than DevMaxAgeDays is ended: first a
  notice that says on which day (DevGraceDays later), then a final one on the day before, then the end. The day is
  remembered by a tag of the endpoint's config, which outlives nights; a new deployment has a new config, and so begins
  anew. The model stays in the registry: `mlp approve` brings the endpoint back.
- **Orphans.** Configs, models, logs, alarms and scaling targets whose endpoint neither runs nor sleeps, after a day, so
  that a deployment under way loses nothing; of each dataset's packages all but the newest KeptPackages, and never
  one whose model is live.
- **Tags.** A required tag that is missing, or differs from the stack's, is set.

Level, not edge: a run that was missed, failed half-way or came twice is made good by the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

from mlplatform import kinds, names
from mlplatform.decisions import Decision, EndEndpoint, EndResource, Notify, Skip, TagResource, WarnOfEnd
from mlplatform.facts import DATASET_TAG, Approval, HostedEndpoint, HostingKind, Owned
from mlplatform.records import dataclass
from mlplatform.registry import package_description
from mlplatform.settings import Settings
from mlplatform.words import counted

ORPHAN_AGE = timedelta(days=1)
ALWAYS = "always"
Governing = EndResource | EndEndpoint | WarnOfEnd | TagResource | Notify | Skip

_TAGGABLE = frozenset({"endpoint", "inference-component", "endpoint-config", "model", "model-package-group", "alarm"})


@dataclass(frozen=True)
class Estate:
    """Everything that the stack's functions made, and the endpoints among it with those that sleep."""

    owned: tuple[Owned, ...]
    endpoints: tuple[HostedEndpoint, ...]
    # Names of the configs that endpoints run with, and of their models: after an update that failed, neither is the one
    # that the endpoint's tags want.
    running: frozenset[str] = frozenset()


def plan_governance(estate: Estate, settings: Settings, now: datetime) -> list[Governing]:
    """One decision for each thing that is not as it should be, and for each endpoint."""
    return [
        *(_age(endpoint, estate, settings, now) for endpoint in estate.endpoints),
        *_orphans(estate, settings, now),
        *_old_packages(estate, settings, now),
        *_tags(estate, settings),
    ]


# ---- age ----


def _age(endpoint: HostedEndpoint, estate: Estate, settings: Settings, now: datetime) -> Governing:
    name = endpoint.name
    if endpoint.status == "Deleting":
        return Skip(f"{name} is being deleted.")
    config = _config(endpoint, estate, settings)
    if config is None or config.created is None:
        return Skip(f"{name} runs with a config that the platform did not make, so nobody knows how old it is.")
    if settings.environment != "dev":
        return Skip(f"{name} is of Environment {settings.environment}, where nothing ends because of its age.")
    if settings.dev_max_age_days == 0:
        return Skip(f"{name} may be as old as it likes: DevMaxAgeDays is 0.")
    tags = {**endpoint.tags, **config.tags}
    kept = _kept(tags, now)
    if kept:
        return Skip(f"{name} is kept {kept}.")
    age = (now - _deployed(endpoint, config.created, estate)).days
    if age < settings.dev_max_age_days:
        return Skip(f"{name} is {counted(age, 'day')} old, of {settings.dev_max_age_days} that it may be.")
    today = now.astimezone(UTC).date()
    tomorrow = today + timedelta(days=1)
    ends = _day(tags.get(names.ENDS_TAG, ""))
    keep = f"To keep it: mlp keep {endpoint.tags.get(DATASET_TAG, name)} --days 7"
    # A day that is long over is of a keep that has run out since: whoever asked for it is told anew.
    if ends is None or ends < today - timedelta(days=1):
        day = today + timedelta(days=settings.dev_grace_days)
        return WarnOfEnd(
            f"{name} has run the same model for {counted(age, 'day')}, and endpoints of dev end after "
            f"{settings.dev_max_age_days}: it ends on {day:%A}, {day}. {keep}",
            name,
            config.arn,
            {names.ENDS_TAG: day.isoformat()},
        )
    if ends > tomorrow:
        return Skip(f"{name} ends on {ends}; people know.")
    if tags.get(names.LAST_WARNING_TAG) != ends.isoformat():
        # The run of the eve may have been missed: nothing ends without this notice.
        return WarnOfEnd(
            f"Tomorrow, on {tomorrow}, {name} ends: it has run the same model for {age} days. {keep}",
            name,
            config.arn,
            {names.ENDS_TAG: tomorrow.isoformat(), names.LAST_WARNING_TAG: tomorrow.isoformat()},
        )
    if today < ends:
        return Skip(f"{name} ends tomorrow; people know.")
    return EndEndpoint(
        f"{name} is ended: it has run the same model for {age} days, and people were told on time. The model stays in "
        f"the registry: mlp approve {endpoint.tags.get(DATASET_TAG, name)} brings the endpoint back.",
        name,
        running=endpoint.status is not None,
        config_arn=config.arn,
        alarms=endpoint.parked.alarms if endpoint.parked else (),
        has_component=kinds.tagged_kind(endpoint.tags) is HostingKind.SCALE_TO_ZERO,
    )


def _config(endpoint: HostedEndpoint, estate: Estate, settings: Settings) -> Owned | None:
    """The config whose age is the endpoint's: the one that it should run, or that it sleeps in."""
    name = endpoint.parked.config if endpoint.parked else _wanted_config(endpoint, settings)
    return next((one for one in estate.owned if one.kind == "endpoint-config" and one.name == name), None)


def _deployed(endpoint: HostedEndpoint, config: datetime, estate: Estate) -> datetime:
    """When its model was deployed: of what scales to zero the config knows none, and stays the same with the next."""
    if kinds.tagged_kind(endpoint.tags) is not HostingKind.SCALE_TO_ZERO:
        return config
    model = endpoint.tags.get(names.WANTED_TAG)
    made = (one.created for one in estate.owned if one.kind == "model" and one.name == model)
    return max((config, *filter(None, made)))


def _wanted_config(endpoint: HostedEndpoint, settings: Settings) -> str:
    return kinds.config_name(
        kinds.hosting(endpoint.tags, settings), endpoint.tags.get(names.WANTED_TAG, ""), endpoint.name
    )


def _kept(tags: Mapping[str, str], now: datetime) -> str:
    """ "for good" or "until 2026-12-24"; empty where nobody has asked for it, or that is over."""
    wish = tags.get(names.KEEP_TAG, "")
    if wish == ALWAYS:
        return "for good"
    until = _day(wish)
    return f"until {until}" if until is not None and now.astimezone(UTC).date() <= until else ""


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


# ---- orphans ----


def _orphans(estate: Estate, settings: Settings, now: datetime) -> Iterator[EndResource]:
    there = {endpoint.name for endpoint in estate.endpoints}
    used = _used(estate, settings)
    for one in estate.owned:
        if _kept(one.tags, now) or (one.created is not None and now - one.created < ORPHAN_AGE):
            continue
        kind = one.kind.replace("-", " ")
        match one.kind:
            case "endpoint-config" | "model":
                if one.name not in used:
                    yield EndResource(f"No endpoint runs or sleeps with the {kind} {one.name}.", one.kind, one.name)
            case "scaling-target" | "component-scaling" | "log-group":
                if one.about not in there:
                    yield EndResource(f"There is no endpoint to the {kind} {one.name} any more.", one.kind, one.name)
            case "alarm":
                if one.about and one.about not in there:
                    yield EndResource(f"There is no endpoint to the {kind} {one.name} any more.", one.kind, one.name)


def _used(estate: Estate, settings: Settings) -> frozenset[str]:
    """Names of configs, and of their models, that an endpoint runs, is to run, or sleeps in."""
    found: set[str] = set(estate.running)
    for endpoint in estate.endpoints:
        found |= {endpoint.tags.get(tag, "") for tag in (names.WANTED_TAG, names.ASKED_TAG)}
        found.add(names.challenger_wishes(endpoint.tags).get("model", ""))
        found.add(_wanted_config(endpoint, settings))
        if endpoint.parked:
            found.add(endpoint.parked.config)
    return frozenset(found)


def _old_packages(estate: Estate, settings: Settings, now: datetime) -> Iterator[EndResource]:
    used = _used(estate, settings)
    groups: dict[str, list[Owned]] = {}
    for one in estate.owned:
        if one.kind == "model-package" and one.created is not None:
            groups.setdefault(one.about, []).append(one)
    for group, packages in groups.items():
        newest_first = sorted(packages, key=lambda one: (one.created or now, one.name), reverse=True)
        for one in newest_first[settings.kept_packages :]:
            if not _serves(one, used) and one.state != Approval.PENDING:
                yield EndResource(
                    f"{group} has {len(packages)} model packages, and the newest {settings.kept_packages} are kept; "
                    f"{one.name.rpartition('/')[2]} is older.",
                    one.kind,
                    one.name,
                )


def _serves(package: Owned, used: frozenset[str]) -> bool:
    version = int(package.name.rpartition("/")[2])
    return names.package_model(package.about, version) in used or any(
        package.description.startswith(package_description(job)) for job in used if job
    )


# ---- tags ----


def _tags(estate: Estate, settings: Settings) -> Iterator[TagResource]:
    for one in estate.owned:
        wrong = {key: value for key, value in settings.required_tags.items() if one.tags.get(key) != value}
        if one.kind in _TAGGABLE and wrong:
            said = ", ".join(f"{key}={value}" for key, value in wrong.items())
            yield TagResource(f"The {one.kind.replace('-', ' ')} {one.name} gets {said}.", one.kind, one.arn, wrong)


def summary(done: Iterable[Decision]) -> Notify | None:
    """What a run did, as one message; warnings and ends are told by themselves."""
    ends = [one.reason for one in done if isinstance(one, EndResource)]
    tagged = [one.reason for one in done if isinstance(one, TagResource)]
    if not ends and not tagged:
        return None
    lines = [*ends[:20], *([f"and {len(ends) - 20} more"] if len(ends) > 20 else []), *tagged[:5]]
    return Notify(
        f"Tidied up: {len(ends)} orphans deleted, {len(tagged)} things tagged. " + " ".join(lines),
        "Tidied up",
        routine=True,
    )


def trouble(refused: list[str], now: datetime) -> Notify:
    """What AWS did not let a run do, told once a day; tomorrow's run finds the same again."""
    more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
    return Notify(
        f"{len(refused)} things could not be tidied up: {'; '.join(refused[:5])}{more}.",
        "Tidying up was refused",
        once=names.notice_key("governance", f"{now:%Y-%m-%d}", "refused"),
    )
