"""Which instance types SageMaker trains and hosts on, as far as the platform's container images run there.

Source: the enumerations TrainingInstanceType and ProductionVariantInstanceType of the SageMaker service model
(botocore 1.44). Left out on purpose: Trainium and Inferentia (trn, inf), Gaudi (dl1), and the Arm machines (c7g, m8g,
p6e-gb200, ...), which need container images of their own; and the GPUs that CUDA 12.4 and 12.6, which the images have
(see containers.py), cannot drive: Blackwell (g7, g7e, p6), which CUDA knows from 12.8 on ("Software Migration Guide
for NVIDIA Blackwell RTX GPUs", NVIDIA), and Kepler (p2), which it dropped in 12.0 (CUDA 12.0 release notes). A test
holds the tables against the service model.
"""

from __future__ import annotations

_TO_4XLARGE = "large xlarge 2xlarge 4xlarge"
_TO_16XLARGE = "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge"
_TO_48XLARGE = f"{_TO_16XLARGE} 24xlarge 48xlarge"

_TRAINING = {
    "t3": "medium large xlarge 2xlarge",
    "m4": "xlarge 2xlarge 4xlarge 10xlarge 16xlarge",
    "m5": f"{_TO_4XLARGE} 12xlarge 24xlarge",
    "m6i r6i": f"large {_TO_16XLARGE} 24xlarge 32xlarge",
    "m7i c7i r7i": f"large {_TO_48XLARGE}",
    "m8i r8i": f"large {_TO_16XLARGE} 24xlarge 32xlarge 48xlarge 96xlarge",
    "m7i-flex m8i-flex r8i-flex": f"large {_TO_16XLARGE}",
    "c4": "xlarge 2xlarge 4xlarge 8xlarge",
    "c5 c5n": "xlarge 2xlarge 4xlarge 9xlarge 18xlarge",
    "c6i": f"{_TO_16XLARGE} 24xlarge 32xlarge",
    "c8i": f"{_TO_16XLARGE} 24xlarge 32xlarge 48xlarge 96xlarge",
    "c7i-flex c8i-flex g4dn": _TO_16XLARGE,
    "r5 r5d": f"large {_TO_16XLARGE} 24xlarge",
    "g5 g6 g6e": _TO_48XLARGE,
    "p3": "2xlarge 8xlarge 16xlarge",
    "p3dn p4d p4de": "24xlarge",
    "p5": "4xlarge 48xlarge",
    "p5e p5en": "48xlarge",
}

_HOSTING = {
    "t2": "medium large xlarge 2xlarge",
    "m4": "xlarge 2xlarge 4xlarge 10xlarge 16xlarge",
    "m5 m5d r5 r5d": f"{_TO_4XLARGE} 12xlarge 24xlarge",
    "m6i c6i c6in r6i": f"large {_TO_16XLARGE} 24xlarge 32xlarge",
    "m7i c7i r7i": f"large {_TO_48XLARGE}",
    "c4": f"{_TO_4XLARGE} 8xlarge",
    "c5 c5d": f"{_TO_4XLARGE} 9xlarge 18xlarge",
    "g4dn": _TO_16XLARGE,
    "g5 g6 g6e": _TO_48XLARGE,
    "p3": "2xlarge 8xlarge 16xlarge",
    "p4d p4de": "24xlarge",
    "p5": "4xlarge 48xlarge",
    "p5e p5en": "48xlarge",
}


def _spelt_out(table: dict[str, str]) -> frozenset[str]:
    return frozenset(
        f"ml.{family}.{size}"
        for families, sizes in table.items()
        for family in families.split()
        for size in sizes.split()
    )


TRAINING = _spelt_out(_TRAINING)
HOSTING = _spelt_out(_HOSTING)


def vcpus(instance_type: str) -> int:
    """How many virtual CPUs an `ml.` type has: 4 for xlarge and in proportion ("Amazon EC2 instance types").

    The types that break the rule and can host: c4.8xlarge has 36, medium (t2's alone) has 2.
    """
    if instance_type == "ml.c4.8xlarge":
        return 36
    size = instance_type.rsplit(".", 1)[1]
    if size in ("medium", "large"):
        return 2
    return 4 * int(size.removesuffix("xlarge") or 1)


def is_gpu(instance_type: str) -> bool:
    """Whether an `ml.` type has a GPU: the families g and p ("Amazon EC2 instance types")."""
    return instance_type.split(".")[1][:1] in {"g", "p"}


def memory_gib(instance_type: str) -> int | None:
    """Of the processors' families that the platform hosts on: m has 4 GiB for each virtual CPU, c has 2 and r has 8
    ("Amazon EC2 instance types"). None for the others, the older c4 and t2 among them."""
    family = instance_type.split(".")[1]
    each = {"m": 4, "c": 2, "r": 8}.get(family[0])
    return None if each is None or family == "c4" else each * vcpus(instance_type)


def for_components_mib(instance_type: str) -> int:
    """What inference components may reserve of an instance's memory together, as far as anybody has told: an eighth.

    AWS publishes no figure. Who measured it in July 2026 saw 1,024 MB of the 16 GiB of an ml.g5.xlarge accepted, and
    4,096 refused with "There is not enough hardware resources on the instances": a sixteenth fits, a quarter does not,
    and of what lies between nobody has told. That small instances have the same share is assumed.
    """
    memory = memory_gib(instance_type) or vcpus(instance_type) * (4 if is_gpu(instance_type) else 2)
    return memory * 1024 // 8
