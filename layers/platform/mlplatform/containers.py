"""AWS's PyTorch containers and its built-in XGBoost: the image URI by region and instance type.

Tags: github.com/aws/deep-learning-containers, pytorch/{training,inference}/docker/2.6 (PyTorch 2.6.0, Python 3.12, CUDA
12.6 and 12.4); later versions have a training image only. Registry accounts by region: version 2.6.0 in
sagemaker-core/src/sagemaker/core/image_uri_config/pytorch.json of github.com/aws/sagemaker-python-sdk.

XGBoost: version and registry accounts in xgboost.json beside that file; what is in the image, docker/3.0-5/ of
github.com/aws/sagemaker-xgboost-container. 3.0-5 is the newest version that the developer guide names
(https://docs.aws.amazon.com/sagemaker/latest/dg/xgboost.html); the SDK also lists 3.2-0.
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

XGBOOST_VERSION = "3.0-5"
_XGBOOST_ACCOUNTS = {
    "af-south-1": "510948584623",
    "ap-east-1": "651117190479",
    "ap-northeast-1": "354813040037",
    "ap-northeast-2": "366743142698",
    "ap-northeast-3": "867004704886",
    "ap-south-1": "720646828776",
    "ap-south-2": "628508329040",
    "ap-southeast-1": "121021644041",
    "ap-southeast-2": "783357654285",
    "ap-southeast-3": "951798379941",
    "ap-southeast-4": "106583098589",
    "ca-central-1": "341280168497",
    "ca-west-1": "190319476487",
    "cn-north-1": "450853457545",
    "cn-northwest-1": "451049120500",
    "eu-central-1": "492215442770",
    "eu-central-2": "680994064768",
    "eu-north-1": "662702820516",
    "eu-south-1": "978288397137",
    "eu-south-2": "104374241257",
    "eu-west-1": "141502667606",
    "eu-west-2": "764974769150",
    "eu-west-3": "659782779980",
    "il-central-1": "898809789911",
    "me-central-1": "272398656194",
    "me-south-1": "801668240914",
    "sa-east-1": "737474898029",
    "us-east-1": "683313688378",
    "us-east-2": "257758044811",
    "us-gov-east-1": "237065988967",
    "us-gov-west-1": "414596584902",
    "us-west-1": "746614075791",
    "us-west-2": "246618743249",
}


def training_image(region: str, instance_type: str) -> str:
    """Raises SettingsError for a region without these containers."""
    return _image("training", region, instance_type)


def inference_image(region: str, instance_type: str) -> str:
    """Raises SettingsError for a region without these containers."""
    return _image("inference", region, instance_type)


def xgboost_image(region: str) -> str:
    """The built-in algorithm; also what the pipelines' processing steps run in.

    Raises SettingsError for a region without it.
    """
    if region not in _XGBOOST_ACCOUNTS:
        raise SettingsError(f"AWS's XGBoost container is not known to exist in {region}; deploy in another region.")
    return f"{_XGBOOST_ACCOUNTS[region]}.dkr.ecr.{region}.{_domain(region)}/sagemaker-xgboost:{XGBOOST_VERSION}"


def inference_environment(region: str) -> dict[str, str]:
    """What the inference container needs to serve a model of ours: the variables of the inference toolkit
    (github.com/aws/sagemaker-inference-toolkit).
    """
    return {
        "SAGEMAKER_PROGRAM": "inference.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
        "SAGEMAKER_REGION": region,
        "SAGEMAKER_CONTAINER_LOG_LEVEL": "20",
    }


def _image(purpose: str, region: str, instance_type: str) -> str:
    if region not in _ACCOUNTS:
        raise SettingsError(f"AWS's PyTorch containers are not known to exist in {region}; deploy in another region.")
    has_gpu = instance_type.split(".")[1][0] in "gp"
    tag = _TAG.format(device="gpu" if has_gpu else "cpu", cuda=_CUDA[purpose] if has_gpu else "")
    return f"{_ACCOUNTS[region]}.dkr.ecr.{region}.{_domain(region)}/pytorch-{purpose}:{tag}"


def _domain(region: str) -> str:
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
