# Every target makes its environment first, and is one line that works without make too (see README).
PYTHON ?= python3
ARGS ?=
IN := $(PYTHON) -m bootstrap
.DEFAULT_GOAL := help
.PHONY: help setup run tune test test-all check format repro serve services ui prefect deploy undeploy bench bench-serving lock clean

help:      ## what can be made
	@$(PYTHON) -c "import re; [print(f'make {m[1]:<14} {m[2]}') for m in re.finditer(r'^([\w-]+):.*?## (.*)$$', open('Makefile').read(), re.M)]"
setup:     ## the environment in .venv, from requirements.lock
	@$(IN)
run:       ## the whole loop as a Prefect flow; ARGS="-S section.key=value" or ARGS="--profile ci"
	@$(IN) adloom run $(ARGS)
tune:      ## a search for better parameters on the validation window; ARGS="--target ranker --trials 30"
	@$(IN) adloom tune $(ARGS)
test:      ## the tests
	@$(IN) pytest -n 2 $(ARGS)
test-all:  ## the tests, those that take minutes, and the service's against PostgreSQL and Redis, fetched when they are not installed
	@$(IN) adloom services fetch || true
	@$(IN) pytest -m "slow or not slow" $(ARGS)
check:     ## format, lint, types, layers
	@$(IN) --check
format:    ## format the code
	@$(IN) ruff format
repro:     ## the same loop through dvc
	@$(IN) dvc repro $(ARGS)
serve:     ## the HTTP service on loopback
	@$(IN) adloom serve $(ARGS)
services:  ## PostgreSQL and Redis on loopback for the service's log and state; ARGS=stop stops them
	@$(IN) adloom services $(ARGS)
ui:        ## the MLflow UI
	@$(IN) adloom ui $(ARGS)
prefect:   ## the Prefect server and its UI
	@$(IN) adloom prefect $(ARGS)
deploy:    ## a local Prefect server and worker with the scheduled deployments
	@$(IN) adloom deploy $(ARGS)
undeploy:  ## stop what deploy started
	@$(IN) adloom undeploy
bench:     ## benchmarks by name (ARGS="--list" tells them), peers beside ours; without a name: seeds and generation
	@$(IN) python -m benchmarks $(ARGS)
bench-serving: ## the service under load beside `mlflow models serve`; ARGS="--no-peer" for the service alone
	@$(IN) python -m benchmarks.serving $(ARGS)
lock:      ## resolve pyproject.toml anew into requirements.lock
	@$(IN) --lock
clean:     ## remove outputs and caches; keeps your own data, feedback, the live log and the registry
	@$(IN) adloom clean $(ARGS)
