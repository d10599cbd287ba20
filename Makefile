# The words of this project. `make` alone lists them. A newcomer needs Python 3.11 and GNU make, nothing else.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:
.PHONY: help run run-stack stack stack-down fetch-stack ready test test-stack lint types bench bench-stream bench-scores ledger dashboards lock proto clean
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
# The first interpreter that really is Python 3.11 (a pyenv shim may be named so and not work).
FIND_PYTHON = for python in $(PYTHON) python3.11 python3 python; do \
	if "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then echo "$$python"; exit 0; fi; \
	done; exit 1
# Only `make lock` needs uv. It is a tool of whoever locks, no dependency of the project.
UV_VERSION := 0.13.9
COMPILE = $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11

# What is installed is known by stamps that carry a checksum of what they were made from, and of where.
STAMPS := $(VENV)/stamps
CHECKSUM = { pwd; cat pyproject.toml $(1); } | cksum | tr ' ' '-'
RUN_STAMP := $(STAMPS)/run-$(shell $(call CHECKSUM,requirements/run.txt))
DEV_STAMP := $(STAMPS)/dev-$(shell $(call CHECKSUM,requirements/dev.txt))
# The development environment holds all that a run needs, in the same versions.
RUN_READY := $(if $(wildcard $(DEV_STAMP)),$(DEV_STAMP),$(RUN_STAMP))

help: ## list these words
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /make \1|/' | awk -F'|' '{ printf "  %-15s %s\n", $$1, $$2 }'

run: $(RUN_READY) ## start the demonstration city on this machine (Ctrl-C stops it); ARGS="--fresh" begins with no data
	@exec $(BIN)/citysense run $(ARGS)

run-stack: $(RUN_READY) ## the same city as separate processes on Mosquitto, Kafka, InfluxDB and PostgreSQL
	@exec $(BIN)/citysense run --stack --dir .citysense-run-stack $(ARGS)

stack: $(RUN_READY) ## start the real servers in the background: Mosquitto, Kafka, InfluxDB, PostgreSQL; ARGS="--only kafka"
	@$(BIN)/python -m deploy.stack.cli up $(ARGS)

stack-down: $(RUN_READY) ## stop them; their data stay in .citysense-stack/
	@$(BIN)/python -m deploy.stack.cli down $(ARGS)

ready: $(DEV_STAMP) ## only install what tests and benchmarks need

test: $(DEV_STAMP) ## lint, types and all tests; says at the end which were left out and why
	@$(MAKE) --no-print-directory lint types
	$(BIN)/python -m pytest $(ARGS)

fetch-stack: $(RUN_READY) ## only fetch and build the real servers, once on a machine (about ten minutes)
	@$(BIN)/python -m deploy.stack.cli fetch $(ARGS)

test-stack: $(DEV_STAMP) ## the tests on the real servers, which are fetched and built once on a machine
	@$(BIN)/python -m deploy.stack.cli fetch
	CITYSENSE_REQUIRE_STACK=1 $(BIN)/python -m pytest -m "needs_influxdb or needs_influxdb_1 or needs_kafka or needs_postgresql" $(ARGS)

lint: $(DEV_STAMP) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV_STAMP) ## mypy, strict
	$(BIN)/mypy

bench: $(DEV_STAMP) ## measure, and print the figures with the machine's name
	$(BIN)/python tests/benchmarks/run.py $(ARGS)

bench-stream: $(DEV_STAMP) ## the jobs, also on Kafka beside a naive Faust job, Quix Streams and Bytewax, and the whole path
	$(BIN)/python tests/benchmarks/run.py jobs stream path

bench-scores: $(DEV_STAMP) ## the detectors on the Numenta Anomaly Benchmark, whose files are in ../shared/benchmarks/nab
	$(BIN)/python tests/benchmarks/run.py nab

ledger: $(DEV_STAMP) ## ten minutes at 10,000 readings/s while every server and process is killed once; then who lost what
	$(BIN)/python tests/ledger_run.py $(ARGS)

dashboards: $(DEV_STAMP) ## build Grafana's dashboards and data sources from the schema
	$(BIN)/python -m grafana.build_dashboards

lock: $(DEV_STAMP) ## choose the newest allowed versions anew: writes requirements/*.txt
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(COMPILE) --upgrade --all-extras --group dev pyproject.toml -o requirements/dev.txt
	$(COMPILE) --upgrade --all-extras pyproject.toml requirements/install.in -c requirements/dev.txt -o requirements/run.txt
	$(COMPILE) --upgrade --extra agent pyproject.toml -c requirements/dev.txt -o requirements/agent.txt
	$(COMPILE) --upgrade requirements/bench.in -o requirements/bench.txt
	$(COMPILE) --upgrade requirements/bench-detectors.in -o requirements/bench-detectors.txt
	$(COMPILE) --upgrade tests/benchmarks/peers/thingsboard.in -o tests/benchmarks/peers/thingsboard.txt

proto: $(DEV_STAMP) ## generate the Python modules of contracts/sparkplug/sparkplug_b.proto
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. contracts/sparkplug/sparkplug_b.proto

clean: ## remove what was made: environment, caches, builds (not the data of a run: that is .citysense/)
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .pytest_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN_STAMP):
	$(call INSTALL,requirements/run.txt)

$(DEV_STAMP):
	$(call INSTALL,requirements/dev.txt)

# $(1): the lock file. The stamp is written last, so that an interrupted installation is done again.
define INSTALL
@python=$$($(FIND_PYTHON)) || { echo "citysense needs Python 3.11: neither python3.11, python3 nor python on the PATH is one" \
	"(name yours: make PYTHON=/path/to/python3.11 ...)" >&2; exit 1; }; \
	echo "installing $(1) into $(VENV) ..."; rm -rf $(STAMPS); "$$python" -m venv $(VENV)
@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(1)
@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
@mkdir -p $(STAMPS)
@touch $@
endef
