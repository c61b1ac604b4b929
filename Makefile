# Needs Python 3.11 or newer and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test test-hard mutants golden bench lint docs clean

setup: .venv/ready

.venv/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "TDS needs Python 3.11 or newer: make PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/python -P -m tds_demo

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal

# The suite on a busy machine and at other times of the day: make test-hard ARGS="--runs 1 --at 23:59:30"
test-hard: setup
	$(BIN)/python -m tests.hard $(ARGS)

# Lines broken one at a time: make mutants ARGS="--seed 2 --count 100 --only 50_apply"
mutants: setup
	$(BIN)/python -m tests.mutants $(ARGS)

# What the makers make of the mapping, written anew to tests/sql/made for a review.
golden: setup
	$(BIN)/python -m pytest -q tests/sql/test_made.py -k 'reviewed and pg18' --golden

bench: setup
	$(BIN)/python -m benchmarks

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict benchmarks db/tds_db receiver poller cli demo sandbox tests
	$(BIN)/python -m tests.lines

docs: setup
	$(BIN)/python -m tests.docs

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
