# Everything a person types. It needs make, git and Python 3.11 or newer with venv, and fetches the rest by itself.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# An environment without a PATH still has these.
ifeq ($(PATH),)
export PATH := /usr/local/bin:/usr/bin:/bin
endif

PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .tools/uv/bin/uv
BIN := .venv/bin

# Here Python keeps what it compiles, whatever the environment says (images say it must not): a service that compiles
# everything again starts in eight seconds where another takes two, and the tests start many.
unexport PYTHONDONTWRITEBYTECODE

# Behind a company's TLS proxy the system knows the certificates; uv and pip have to be told to ask it.
export UV_SYSTEM_CERTS := 1
# An interpreter that is not there is an error to be read, not a download.
export UV_PYTHON_DOWNLOADS := never
export UV_PYTHON := $(shell PATH='$(PATH)' command -v $(PYTHON))
export UV_PROJECT_ENVIRONMENT := .venv
CERTIFICATES := $(firstword $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem))
ifneq ($(CERTIFICATES),)
export PIP_CERT ?= $(CERTIFICATES)
endif

# The two trees that import each other freely are checked as one.
SOURCES := $(wildcard libs/*/src services/*/src tools/*/src) benchmarks

.PHONY: help run test engines test-integration test-helm test-alerts test-chaos bench bench-scale bench-load lint format typecheck check contracts hooks clean

help: ## Show what can be done here
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | while IFS='|' read -r name text; do printf '  make %-17s %s\n' "$$name" "$$text"; done

run: .venv/.for-running ## Start docqa on this machine and print its address (DOCQA_PORT, DOCQA_DATA)
	@exec $(BIN)/docqa up

# From 3.12 on, Python tells of a line when it runs for the first time: tracing each of them takes nearly as long as the tests.
COVERAGE = $(shell $(BIN)/python -c 'import sys; sys.version_info < (3, 12) or \
	print("COVERAGE_CORE=sysmon COVERAGE_CONCURRENCY=thread")')

test: .venv/.for-development ## Run every test on a stack of its own and print the coverage
	$(COVERAGE) $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadgroup --cov --cov-report=term

engines: .venv/.for-development ## Start real engines without Docker, print their addresses, stop them on Ctrl-C
	@DOCQA_TEST_ENGINES=native exec $(BIN)/python -m tests.engines

test-integration: .venv/.for-development ## Test on a real Kafka, PostgreSQL, MinIO and Chroma: given, in containers, or native
	@exec $(BIN)/python -m tests.engines test

test-helm: .venv/.for-development ## Render the Helm chart and hold it against the services' settings and Kubernetes' schemas
	@exec $(BIN)/python -m tests.deploy

test-alerts: .venv/.for-development ## Play every alert with promtool, on the PATH or in Prometheus's image
	@exec $(BIN)/python -m tests.deploy.alerts

test-chaos: .venv/.for-development ## Kill and freeze services, stores and Kafka at random under load, then audit (FAULTS, WIPES, SEED)
	@exec $(BIN)/python -m tests.chaos $(if $(FAULTS),--faults $(FAULTS)) $(if $(WIPES),--wipes $(WIPES)) $(if $(SEED),--seed $(SEED))

bench: .venv/.for-development ## Measure docqa against bare loops: rows 1 to 5, 9, 11, 12 (10 minutes; one row: python -m benchmarks 3)
	@exec $(BIN)/python -m benchmarks bench

bench-scale: .venv/.for-development ## The large rows: 6, 7, 8, 10 (an hour)
	@exec $(BIN)/python -m benchmarks scale

bench-load: .venv/.for-development ## Fifty people for five minutes
	@exec $(BIN)/python -m benchmarks load

lint: .venv/.for-development ## Check style, and who imports whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

format: .venv/.for-development ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

typecheck: .venv/.for-development ## Check types, strictly
	$(BIN)/mypy $(SOURCES)

check: lint typecheck test ## Style, types and every test

contracts: .venv/.for-development ## Write the published schemas, examples and AsyncAPI document
	$(BIN)/python -m contracts.publishing libs/contracts

hooks: .venv/.for-development ## Check every commit before it is made
	$(BIN)/pre-commit install

clean: ## Remove what was installed and built here, but not your documents
	rm -rf .venv .tools .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*

$(UV):
	@command -v $(PYTHON) >/dev/null || { echo "docqa needs Python 3.11 or newer: '$(PYTHON)' was not found (set PYTHON=…)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "docqa needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) -V 2>&1) (set PYTHON=…)"; exit 1; }
	@$(PYTHON) -m venv .tools/uv || { echo "docqa needs Python's venv module (on Debian and Ubuntu: apt install python3-venv)"; exit 1; }
	@.tools/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# What docqa loads on one machine is compiled before it starts: a service that has to compile it holds on to 10 MB more for as
# long as it runs. Whatever is left out here is compiled by whoever needs it first.
COMPILE := $(BIN)/python -c 'import auth.main, auth.migrate, gateway.main, gateway.migrate, ingest.main, ingest.migrate, \
	ingest.nursery, ingest.pdfium_engine, ingest.pypdf_engine, embedder.main, embedder.migrate, qa.main, qa.migrate, \
	models.minilm, models.openai_calls, onnxruntime, tokenizers, docqa.main'

# Running keeps what development installed, so that going back and forth costs nothing.
.venv/.for-running: uv.lock $(UV)
	@echo "Installing what docqa needs into .venv …"
	@$(UV) sync --quiet --frozen --no-dev --inexact
	-@$(COMPILE)
	@touch $@

.venv/.for-development: uv.lock $(UV)
	@echo "Installing what docqa and its tests need into .venv …"
	@$(UV) sync --quiet --frozen
	-@$(COMPILE)
	@touch $@ .venv/.for-running
