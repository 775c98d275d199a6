# Two commands do everything: `make demo` and `make test`. Both make .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench scaling faults soak postgres scale containers hosts peers fuzz browser clean

help: ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "xraytriage needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --upgrade pip || echo "pip stays as it is (offline?)"
	@echo "Installing the packages (about 5 GB, most of it torch; a few minutes, once) ..."
	@# Without a network an older .venv still serves; not being touched, it is tried again next time.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[models,embedded,tracing,training,dev]' \
	  && touch $@ || { test -e $@ && echo "The packages stay as they are; they could not be brought up to date."; }

demo: $(READY) ## Triage the sample images with the whole stack; ends with a table and addresses
	$(BIN)/xraytriage demo

test: $(READY) ## Every test that needs no root (under 10 minutes on two cores)
	$(BIN)/python -m pytest

lint: $(READY) ## Format, rules, types and import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## Throughput and latency, one table; JSON in bench-out/
	$(BIN)/python -m tests.benchmarks

scaling: $(READY) ## What an image costs, and on paper a million; fills docs/scaling.md
	$(BIN)/python -m tests.benchmarks.scaling

faults: $(READY) ## Kill, pause, fill and cut everything; nothing may be lost
	$(BIN)/python -m pytest tests/faults -m faults

soak: $(READY) ## 10,000 images; memory, handles and Redis keys must stay flat
	$(BIN)/python -m pytest tests/faults -m soak -s

# The browser's and the unit tests know no server; what infra holds knows no database of its own.
ON_POSTGRES := XRAYTRIAGE_TEST_DATABASE=postgresql $(BIN)/python -m pytest
postgres: $(READY) ## Integration, acceptance, peer and fault tests once more, on PostgreSQL
	@failed=0; \
	$(ON_POSTGRES) tests/integration tests/acceptance --ignore tests/integration/infra || failed=1; \
	$(ON_POSTGRES) tests/integration tests/acceptance -m peers || failed=1; \
	$(ON_POSTGRES) tests/faults -m faults || failed=1; \
	exit $$failed

containers: $(READY) ## Every command of docker-compose.yml in namespaces of its own (needs root)
	$(BIN)/python -m pytest tests/integration/infra -m containers

hosts: $(READY) ## Three hosts in namespaces; one is cut off in mid-run (needs root)
	$(BIN)/python -m pytest tests/hosts -m hosts

peers: $(READY) ## DICOM peers and Prometheus (Debian's dcmtk, orthanc, prometheus)
	$(BIN)/python -m pytest tests/integration tests/acceptance -m peers

scale: $(READY) ## Query plans on a million rows, SQLite and PostgreSQL
	$(BIN)/python -m pytest tests/scale

MUTATIONS ?= 20000
fuzz: $(READY) ## Mutated files against the decoder; MUTATIONS=n says how many
	XRAYTRIAGE_FUZZ_MUTATIONS=$(MUTATIONS) $(BIN)/python -m pytest --timeout 3000 tests/unit/pipeline/test_image_fuzz.py

browser: $(READY) ## The pages in a real Chromium (needs Debian's chromium)
	$(BIN)/python -m pytest tests/browser

clean: ## Remove what was built and run; keeps .venv and xraytriage-data (clean-all removes both)
	rm -rf build dist demo-out bench-out runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

.PHONY: clean-all
clean-all: clean
	rm -rf .venv xraytriage-data
