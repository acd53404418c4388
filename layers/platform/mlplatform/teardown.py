"""What functions have made does not go with the stack: it is ended here, in an order that AWS accepts.

CloudFormation deletes what the template made. Endpoints, models, jobs and the rest were made by functions, and would go
on costing money without anybody who knows of them. One pass looks at what is left and ends the first stage of it; the
next pass sees what is left then. So a pass that was interrupted, or came twice, leaves nothing that the next one does
not finish.

The order: jobs first, since one that ends may make more; then inference components, which an endpoint has to be rid of
before it can be deleted (measured on AWS in July 2026); then endpoints, with which the scaling of their variants goes
(DeleteEndpoint, SageMaker API reference); then what an endpoint uses, which "must not" be deleted before it
(DeleteEndpointConfig, same reference); a model package group last, which has to be empty (DeleteModelPackageGroup, same
reference).
"""

from __future__ import annotations

from mlplatform.decisions import EndResource
from mlplatform.facts import Owned, OwnedKind
from mlplatform.records import dataclass
from mlplatform.words import counted

_STAGES: tuple[frozenset[OwnedKind], ...] = (
    frozenset({"tuning-job", "pipeline-execution"}),  # they start others
    frozenset({"training-job"}),
    frozenset({"component-scaling"}),  # or it would start copies while the component goes
    frozenset({"inference-component"}),  # an endpoint that has one can't be deleted
    frozenset({"endpoint"}),
    frozenset({"scaling-target", "endpoint-config", "model", "log-group", "model-package", "alarm", "parameter"}),
    frozenset({"model-package-group"}),
)
# States that pass by themselves, and in which SageMaker refuses to delete or stop (DescribeEndpoint and the Describe
# operations of jobs, SageMaker API reference).
_PASSING = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting", "Stopping"})
_ENDS: dict[OwnedKind, str] = {
    "tuning-job": "is stopped",
    "pipeline-execution": "is stopped",
    "training-job": "is stopped",
}


@dataclass(frozen=True)
class Pass:
    """What one look at the account comes to."""

    ends: tuple[EndResource, ...]
    waiting: tuple[Owned, ...]  # in a state that passes by itself


def plan_teardown(owned: tuple[Owned, ...], stack: str) -> Pass:
    """The first stage that has anything left; nothing at all once all is gone."""
    for stage in _STAGES:
        mine = [one for one in owned if one.kind in stage]
        if mine:
            passing = tuple(one for one in mine if one.state in _PASSING)
            return Pass(
                ends=tuple(_end(one, stack) for one in mine if one not in passing),
                waiting=passing,
            )
    return Pass((), ())


def said(owned: tuple[Owned, ...]) -> str:
    """How many of each kind, as a clause: "1 endpoint, 2 models"."""
    counts: dict[str, int] = {}
    for one in owned:
        counts[one.kind] = counts.get(one.kind, 0) + 1
    words = ((kind.replace("-", " "), count) for kind, count in counts.items())
    return ", ".join(counted(count, kind) for kind, count in words) or "nothing"


def _end(one: Owned, stack: str) -> EndResource:
    done = _ENDS.get(one.kind, "is deleted")
    kind = one.kind.replace("-", " ").capitalize()
    return EndResource(f"{kind} {one.name} {done}: the stack {stack} that made it goes.", one.kind, one.name)
