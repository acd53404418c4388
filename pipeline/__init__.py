"""The platform's SageMaker Pipelines, built with the SageMaker Python SDK: `python -m pipeline` writes their JSON."""
