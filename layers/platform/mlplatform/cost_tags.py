"""Which tags costs can be told apart by. Billing sees a tag only once it is activated, for the costs after that.

"Activating user-defined cost allocation tags" (AWS Billing user guide): a key can be activated once something with it
has been billed, up to a day later; in an organization only the management account may. So it is tried when the stack is
made and then daily, until all of them are active.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlplatform.decisions import ActivateCostTags, Notify, Skip
from mlplatform.errors import AwsError
from mlplatform.facts import DATASET_TAG, STACK_TAG
from mlplatform.names import REQUIRED_TAGS

KEYS = (*REQUIRED_TAGS, STACK_TAG, DATASET_TAG)
DONE_KEY = "notices/cost-tags/active.json"  # in the artifact bucket: nothing is left to activate
REFUSED_KEY = "notices/cost-tags/refused.json"  # the same: people know that this account may not


def plan_cost_tags(active: Mapping[str, bool]) -> ActivateCostTags | Skip:
    """`active` has the keys that billing knows, and whether each is active."""
    waiting = [key for key in KEYS if active.get(key) is False]
    unknown = [key for key in KEYS if key not in active]
    later = f" Nothing with {', '.join(unknown)} was billed yet; tomorrow they are looked at again." if unknown else ""
    if not waiting and unknown:
        return Skip(f"There is nothing to activate.{later}")
    said = (
        f"Activated as cost allocation tags: {', '.join(waiting)}."
        if waiting
        else "All cost allocation tags are active."
    )
    return ActivateCostTags(f"{said}{later}", tuple(waiting), None if unknown else DONE_KEY)


def refused(error: AwsError, stack: str) -> Notify:
    """This account may not; that is no reason to fail, but the budget sees nothing until somebody does it."""
    statuses = " ".join(f"TagKey={key},Status=Active" for key in KEYS)
    command = f"aws ce update-cost-allocation-tags-status --cost-allocation-tags-status {statuses}"
    return Notify(
        f"The cost allocation tags of {stack} could not be activated: {error}. Until they are active, its budget and "
        "its reports by tag see nothing. In an organization only the management account may do it: in Billing, under "
        f"Cost allocation tags, or with `{command}`.",
        f"{stack}: cost allocation tags are not active",
        once=REFUSED_KEY,
    )
