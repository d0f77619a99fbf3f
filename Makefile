# The two commands are `make demo` and `make test`; each does its own set-up. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export LANG := C.UTF-8

PY := .venv/bin/python

.PHONY: help demo test dialyzer bench soak requirements format lock proto setup setup-dev clean

help: ## Show what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

demo: setup ## Answer questions over documents through two Python workers, offline
	@scripts/demo

test: setup-dev ## Run every gate: lint, types, layers, tests of both sides, coverage
	@$(PY) scripts/gates.py $(ONLY)

dialyzer: setup-dev ## Check the types of the Elixir client with Erlang's dialyzer
	@scripts/dialyzer

bench: setup-dev ## Measure against the baselines (ONLY=P1,P8 picks rows, FULL=1 runs all)
	@$(PY) -m bench $(if $(ONLY),--only $(ONLY)) $(if $(FULL),--full)

soak: setup-dev ## Make 100,000 mixed calls while workers are killed (CALLS=, ENGINE=dspy|scripted, STORE=url)
	@PYTHONPATH=.:tests/python $(PY) -m soakkit $(if $(CALLS),--calls $(CALLS)) $(if $(ENGINE),--engine $(ENGINE)) $(if $(STORE),--store $(STORE))

requirements: setup-dev ## Print the requirements and how far each one is
	@$(PY) scripts/requirements.py

format: setup-dev ## Format both sides
	@$(PY) -m ruff check --fix-only --quiet . && $(PY) -m ruff format --quiet . && mix format

proto: setup-dev ## Make the gRPC code of python_bridge/_proto anew
	@$(PY) scripts/proto.py

lock: setup-dev ## Resolve the locks anew
	@scripts/lock

setup: ## Install what `make demo` needs
	@scripts/setup runtime

setup-dev: ## Install what `make test` needs
	@scripts/setup dev

clean: ## Remove what was installed and built
	rm -rf .venv _build cover .pytest_cache .ruff_cache .hypothesis .import_linter_cache
