# Needs make and Python 3.11 to 3.14, nothing else. `make` alone lists what there is.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help up test test-machine test-kills test-brokers soak mutation check documents format format-check lint types contracts security spelling containers \
        lock lock-check bench clean runtime development benchmark

python := .venv/bin/python
sources := app ordertrail simulated_exchange tests ops $(wildcard bench)

# The first Python that fits: PostgreSQL's wheel has binaries for CPython 3.11 to 3.14.
fits := import sys, sysconfig, venv, ensurepip; \
        sys.exit(not ((3, 11) <= sys.version_info[:2] < (3, 15) and not sysconfig.get_config_var("Py_GIL_DISABLED")))
find_python = for candidate in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
        "$$candidate" -c '$(fits)' >/dev/null 2>&1 && exec "$$candidate" ops/install.py $(1); \
    done; \
    echo "No suitable Python found: CPython 3.11, 3.12, 3.13 or 3.14 with its venv module is needed" \
         "(on Debian and Ubuntu: apt install python3-venv). PYTHON=/path/to/python make ... names one." >&2; \
    exit 1

# Where this is set, each of some hundred programs that the tests start would compile the service anew, and pytest its tests.
unexport PYTHONDONTWRITEBYTECODE

ifdef PORT
export ORDERTRAIL_PORT := $(PORT)
endif

help: ## List the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-12s %s\n", $$1, $$2 }'

up: runtime ## Run everything here: PostgreSQL, the simulated exchange, the API on port 8000 (or PORT=...; QUEUE=nats: NATS, too)
	@$(python) -m ordertrail up $(if $(QUEUE),--queue $(QUEUE))

test: development ## Run the tests
	@$(python) -m pytest -n 3 --dist=worksteal -m "not machine and not kills and not brokers" $(ARGS)

test-machine: development ## Run the tests that need Debian's PostgreSQL and pgbouncer, and the right to mount; without, they are skipped
	@$(python) -m pytest -n 2 --dist=worksteal -m machine $(ARGS)

test-kills: development ## Run the tests that kill, stop or cut off real processes again and again, under load
	@$(python) -m pytest -n 2 --dist=worksteal -m kills $(ARGS)

test-brokers: development ## Run the tests that start a NATS or an SQS server
	@$(python) -m pytest -n 2 --dist=worksteal -m brokers $(ARGS)

soak: development ## Prove more than the tests do, for hours: SEEDS=1000000, ORDERS=20000, PAIRS=0/1 (all of them)
	@$(python) -m tests.simulation --seeds $(or $(SEEDS),1000000) --first 1000000
	@ORDERTRAIL_MATRIX_PROFILES=all ORDERTRAIL_TEST_MATRIX_SHARE=0/1 ORDERTRAIL_TEST_EXECUTIONS_SHARE=0/1 \
	    ORDERTRAIL_PAIRS_SHARE=$(or $(PAIRS),0/1) \
	    $(python) -m pytest -n 2 -o timeout=0 tests/simulation/test_matrix.py
	@ORDERTRAIL_SOAK_ORDERS=$(or $(ORDERS),20000) $(python) -m pytest tests/journeys/test_kills_under_load.py -k soak
	@ORDERTRAIL_TEST_EXECUTION_KILLS=300 $(python) -m pytest tests/journeys/test_execution_kills.py
	@$(python) -m tests.mutation

mutation: development ## Break the deciding code in small ways, and list what no test notices; goes on where it stopped
	@$(python) -m tests.mutation $(ARGS)

check: format-check lint types contracts security spelling containers lock-check ## Check all that a machine can check; `make -k check` goes on after a finding

documents: development ## Make the documents that are derived from the code: docs/schema.md, docs/reasons.md, docs/sql
	@$(python) -m ops.documents

format: development ## Put the sources into their form
	@$(python) -m ruff check --quiet --fix-only $(sources)
	@$(python) -m ruff format $(sources)

format-check: development
	@$(python) -m ruff format --check $(sources)

lint: development
	@$(python) -m ruff check $(sources)

types: development
	@$(python) -m mypy $(sources)

contracts: development
	@.venv/bin/lint-imports

security: development
	@$(python) -m bandit --quiet --recursive --configfile pyproject.toml app ordertrail simulated_exchange ops

spelling: development
	@$(python) -m codespell_lib

containers: development
	@.venv/bin/yamllint --strict -d '{extends: default, rules: {document-start: disable, line-length: {max: 110}}}' compose.yaml
	@.venv/bin/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	@.venv/bin/hadolint Dockerfile

lock: development ## Compile the lock files from pyproject.toml (ARGS=--upgrade: to the newest versions)
	@$(python) ops/lock.py $(ARGS)

lock-check: development
	@$(python) ops/lock.py --check

bench: benchmark ## Measure us beside the rivals
	@$(python) -m bench $(ARGS)
	@$(if $(ARGS),,$(python) -m bench.reconciliation && $(python) -m bench.long_list && $(python) -m bench.positions && $(python) -m bench.executions && $(python) -m bench.watching && $(python) -m bench.order_queue)

clean: ## Remove what was installed and cached here; the data in .ordertrail stay
	@rm -rf .venv .venv.lock .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .schemathesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

runtime:
	@$(call find_python,requirements.txt)

development:
	@$(call find_python,requirements-dev.txt)

benchmark:
	@$(call find_python,requirements-bench.txt)
