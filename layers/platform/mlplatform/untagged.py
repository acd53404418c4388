"""What in the account lacks required tags and is not the platform's, and whose it may be. Told, and never touched.

The owner is a guess: whoever called the API that made it, as CloudTrail remembers for 90 days. What identities are
people: "CloudTrail userIdentity element" (AWS CloudTrail user guide). An IAM user is one; a role's session is one where
IAM Identity Center made it, where it is named like an e-mail address, or where it says who stands behind it
(`sourceIdentity`). Root, AWS's services, their service-linked roles and other roles' sessions are not: those are told
as what they are, so that somebody knows whom to ask.

A resource with the tag `ml-platform:keep` is left out, and so is one that has all the keys, whatever their values.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from mlplatform import names
from mlplatform.decisions import Notify, ReportUntagged
from mlplatform.facts import STACK_TAG, Maker, Makers, Other

TOLD = 10  # in one message; `mlp govern` has them all
SETTLED = timedelta(hours=1)  # tags and events are told with some delay
SOMEBODY = "SOMEBODY"  # what a person replaces in a command


def lacking(others: Iterable[Other], stack: str, now: datetime) -> tuple[Other, ...]:
    """Those without one of the required tags, the newest first; the stack's own are tagged by another planner."""
    return tuple(
        sorted(
            (
                one
                for one in others
                if _missing(one)
                and one.tags.get(STACK_TAG) != stack
                and names.KEEP_TAG not in one.tags
                and now - one.created >= SETTLED
            ),
            key=lambda one: one.created,
            reverse=True,
        )
    )


def _missing(one: Other) -> list[str]:
    return [key for key in names.REQUIRED_TAGS if key not in one.tags]


def maker(event: Mapping[str, Any]) -> Maker:
    """Of one record of CloudTrail, with `userIdentity` as its reference has it."""
    identity: Mapping[str, Any] = event.get("userIdentity", {})
    context: Mapping[str, Any] = identity.get("sessionContext", {})
    kind = identity.get("type")
    session = str(identity.get("principalId", "")).partition(":")[2]
    role = str(context.get("sessionIssuer", {}).get("userName", ""))
    if kind == "IAMUser":
        name = str(identity.get("userName", ""))
        return Maker(name or "an IAM user without a name", name)
    if source := str(context.get("sourceIdentity", "")):
        return Maker(f"{source}, in the role {role}", source)
    if kind == "AssumedRole" and role.startswith("AWSServiceRoleFor"):
        return Maker(f"AWS itself, by its service-linked role {role}")
    if kind == "AssumedRole":
        person = session if role.startswith("AWSReservedSSO_") or "@" in session else ""
        return Maker(person or f"the role {role} in the session {session or 'without a name'}", person)
    if kind == "FederatedUser" and session:
        return Maker(session, session)
    if kind == "IdentityCenterUser":
        return Maker(f"the Identity Center user {identity.get('onBehalfOf', {}).get('userId', 'without a name')}")
    if kind == "Root":
        return Maker("the account's root user")
    service = identity.get("invokedBy") or event.get("sourceIPAddress") or "a service"
    return Maker(f"{service}, no person" if kind == "AWSService" else f"a caller of type {kind}")


def plan_untagged(others: Iterable[Other], makers: Makers) -> list[ReportUntagged]:
    """A report for each, with the command that would tag it."""
    return [
        ReportUntagged(
            f"The {one.kind.replace('-', ' ')} {one.name} lacks {_listed(_missing(one))}. "
            f"{_who(one, makers)} To tag it: {_command(one, makers.by_arn.get(one.arn))}",
            one.arn,
        )
        for one in others
    ]


def _who(one: Other, makers: Makers) -> str:
    found = makers.by_arn.get(one.arn)
    if found is None:
        made = "made or changed" if one.kind == "bucket" else "made"
        return makers.not_asked or f"It was {made} on {one.created:%Y-%m-%d}, and CloudTrail does not say by whom."
    guess = ", and so may be its owner" if found.person else ""
    when = "" if one.kind == "bucket" else f" on {one.created:%Y-%m-%d}"  # a bucket's date is that of its last change
    return f"{found.said} made it{when}{guess}."


def _command(one: Other, found: Maker | None) -> str:
    owner = found.person if found and found.person else SOMEBODY
    tags = ",".join(f"{key}={owner if key == 'Owner' else 'VALUE'}" for key in _missing(one))
    return f"aws resourcegroupstaggingapi tag-resources --resource-arn-list {one.arn} --tags {shlex.quote(tags)}"


def _listed(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{', '.join(keys[:-1])} and {keys[-1]}"


def report(found: Iterable[object], now: datetime) -> Notify | None:
    """All of them in one message, once a week, and again whenever they are others."""
    untagged = [one for one in found if isinstance(one, ReportUntagged)]
    if not untagged:
        return None
    digest = hashlib.sha256(" ".join(sorted(one.arn for one in untagged)).encode()).hexdigest()[:12]
    more = [f"and {len(untagged) - TOLD} more; mlp govern has them all"] if len(untagged) > TOLD else []
    lines = [*(f"- {one.reason}" for one in untagged[:TOLD]), *more]
    return Notify(
        "What the platform did not make lacks required tags, so that nobody is charged for it by name. "
        "Nothing was changed.\n\n" + "\n".join(lines),
        f"{len(untagged)} things without required tags",
        once=names.notice_key("untagged", digest, f"{now:%G-W%V}"),
        routine=True,
    )
