"""AWS's PyTorch containers: the image URI by region and instance type.

Tags: github.com/aws/deep-learning-containers, pytorch/{training,inference}/docker/2.6 (PyTorch 2.6.0, Python 3.12, CUDA
12.6 and 12.4); later versions have a training image only. Registry accounts by region: version 2.6.0 in
sagemaker-core/src/sagemaker/core/image_uri_config/pytorch.json of github.com/aws/sagemaker-python-sdk.
"""

from __future__ import annotations

from mlplatform.errors import SettingsError

VERSION = "2.6.0"
_TAG = VERSION + "-{device}-py312-{cuda}ubuntu22.04-sagemaker"
_CUDA = {"training": "cu126-", "inference": "cu124-"}

_USUAL_ACCOUNT = "763104351884"
_ACCOUNTS = {
    "af-south-1": "626614931356",
    "ap-east-1": "871362719292",
    "ap-east-2": "975050140332",
    "ap-northeast-3": "364406365360",
    "ap-south-2": "772153158452",
    "ap-southeast-3": "907027046896",
    "ap-southeast-4": "457447274322",
    "ap-southeast-5": "550225433462",
    "ap-southeast-6": "633930458069",
    "ap-southeast-7": "590183813437",
    "ca-west-1": "204538143572",
    "cn-north-1": "727897471807",
    "cn-northwest-1": "727897471807",
    "eu-central-2": "380420809688",
    "eu-south-1": "692866216735",
    "eu-south-2": "503227376785",
    "il-central-1": "780543022126",
    "me-central-1": "914824155844",
    "me-south-1": "217643126080",
    "mx-central-1": "637423239942",
    "us-gov-east-1": "446045086412",
    "us-gov-west-1": "442386744353",
} | dict.fromkeys(
    [
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-south-1",
        "ap-southeast-1",
        "ap-southeast-2",
        "ca-central-1",
        "eu-central-1",
        "eu-north-1",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "sa-east-1",
        "us-east-1",
        "us-east-2",
        "us-west-1",
        "us-west-2",
    ],
    _USUAL_ACCOUNT,
)


def training_image(region: str, instance_type: str) -> str:
    """Raises SettingsError for a region without these containers."""
    return _image("training", region, instance_type)


def inference_image(region: str, instance_type: str) -> str:
    """Raises SettingsError for a region without these containers."""
    return _image("inference", region, instance_type)


def _image(purpose: str, region: str, instance_type: str) -> str:
    if region not in _ACCOUNTS:
        raise SettingsError(f"AWS's PyTorch containers are not known to exist in {region}; deploy in another region.")
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    has_gpu = instance_type.split(".")[1][0] in "gp"
    tag = _TAG.format(device="gpu" if has_gpu else "cpu", cuda=_CUDA[purpose] if has_gpu else "")
    return f"{_ACCOUNTS[region]}.dkr.ecr.{region}.{domain}/pytorch-{purpose}:{tag}"
