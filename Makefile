.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Programs that tests need, each with the Debian package that has it.
PROGRAMS := chromium:chromium curl:curl openssl:openssl java:openjdk-17-jre-headless mvn:maven

help:  ## show this help
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## create .venv with everything, from the lock file

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Dimwatch needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: $(STAMP)  ## Dimwatch with a simulated fleet, in a throw-away folder
	$(BIN)/dimwatch up --demo

up: $(STAMP)  ## Dimwatch for your own agents, data kept in ./data
	$(BIN)/dimwatch up --data data

check: $(STAMP)  ## format, lint, types, import arrows, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -P -m pytest -q -n auto --dist loadfile --no-loadscope-reorder -m "not e2e and not browser"

programs:  ## Debian packages that tests need, where they are missing and root may install them
	@missing=$$(for program in $(PROGRAMS); do command -v $${program%:*} >/dev/null || echo $${program#*:}; done); \
	test -z "$$missing" || if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	else echo "tests that need them are skipped, or fail in CI: install" $$missing; fi

test: programs check  ## set up, then run all checks and all tests
	$(BIN)/python -P -m pytest -q -m "e2e or browser"

bench: $(STAMP)  ## measure throughput, latency, size and start-up
	$(BIN)/python -P -m benchmarks

lock: $(STAMP)  ## renew requirements.lock from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
	  --no-header --no-emit-index-url --no-emit-find-links --upgrade -o requirements.lock pyproject.toml

.PHONY: help install demo up check programs test bench lock
