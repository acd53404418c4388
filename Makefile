# Everything a person types. `make help` lists it.
PYTHON ?= python3
PORT ?= 4566
REGION ?= us-east-1
BIN := .venv/bin
SAM := .venv/sam/bin/sam
export SAM_CLI_TELEMETRY := 0
# Where it is set, each of a hundred processes would compile the sources again, and each worker rewrite all tests.
unexport PYTHONDONTWRITEBYTECODE
ifeq ($(shell command -v cc || command -v gcc || command -v clang),)
export CC := $(CURDIR)/.ci/no-compiler
export LDSHARED := $(CC) -shared
endif

.PHONY: help setup demo test up lint check bench build deploy pipelines prices clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/installed ## install everything into .venv (skipped when nothing changed)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 setup" if sys.version_info < (3, 11) else 0)'
	@echo "setting up .venv (once; PyTorch is the large part)"
	@$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python requirements.txt pyproject.toml
	@$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	@touch $@

.venv/sam/installed: .venv/bin/python requirements-sam.txt
	@echo "setting up the SAM CLI in .venv/sam (once)"
	@$(PYTHON) -m venv .venv/sam
	@.venv/sam/bin/pip install --quiet --disable-pip-version-check --requirement requirements-sam.txt
	@touch $@

.venv/sagemaker/installed: .venv/bin/python requirements-sagemaker.txt
	@echo "setting up the SageMaker SDK in .venv/sagemaker (once)"
	@$(PYTHON) -m venv .venv/sagemaker
	@.venv/sagemaker/bin/pip install --quiet --disable-pip-version-check --requirement requirements-sagemaker.txt
	@touch $@

.venv/checkov/installed: .venv/bin/python requirements-checkov.txt
	@echo "setting up checkov in .venv/checkov (once)"
	@$(PYTHON) -m venv .venv/checkov
	@.venv/checkov/bin/pip install --quiet --disable-pip-version-check --requirement requirements-checkov.txt
	@touch $@

demo: setup ## the whole story in one terminal, on this machine; ends by itself
	@$(BIN)/python -m cli.demo

test: .venv/installed-dev .venv/sagemaker/installed ## all tests
	@$(BIN)/pytest -n 3

up: setup ## the laptop in the foreground until Ctrl-C (PORT=4566)
	@echo "starting the laptop: it deploys template.yaml to an AWS account on this machine, in some seconds"
	@exec $(BIN)/python -m laptop --port $(PORT)

lint: .venv/installed-dev .venv/sam/installed .venv/checkov/installed ## format, lint, strict types, template lint, checkov
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(SAM) validate --lint --region us-east-1
	.venv/checkov/bin/checkov --config-file .checkov.yaml

check: lint test ## lint, then the tests

bench: .venv/installed-dev ## the measurements of bench/, as tables and JSON files
	@$(BIN)/python -m bench

build: .venv/sam/installed ## sam build
	PYTHON=$(CURDIR)/.venv/sam/bin/python $(SAM) build

deploy: build ## sam deploy --guided, with your AWS credentials
	$(SAM) deploy --guided

pipelines: .venv/sagemaker/installed ## write the pipelines' definitions anew, with the SageMaker SDK
	@PYTHONPATH=.:layers/platform .venv/sagemaker/bin/python -m pipeline

prices: setup ## rebuild the price list from the AWS Price List API, with your credentials (REGION=us-east-1)
	@$(BIN)/python -m cli.price_list --region $(REGION)

clean: ## remove what builds and runs have left behind, but not .venv
	rm -rf .aws-sam .laptop bench/results .pytest_cache .mypy_cache .ruff_cache
