# Needs Python 3.11 or newer and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
# Tests and the demo start programs by the hundred: what Python has compiled once is kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup lock sbom demo test test-hard mutants golden bench lint docs site clean

setup: .venv/ready

# Only files whose hashes stand in requirements.lock are installed.
.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "TDS needs Python 3.11 or newer: make PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

SUPPLY := build/supply/bin

$(SUPPLY)/ready:
	$(PYTHON) -m venv build/supply
	$(SUPPLY)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1' 'cyclonedx-bom>=7,<8'
	touch $@

# Versions stay as they are as long as pyproject.toml allows them: make lock ARGS="--upgrade" takes the newest, or
# ARGS="--upgrade-package httpx" that of one.
lock: $(SUPPLY)/ready
	$(SUPPLY)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev \
		--custom-compile-command "make lock" --output-file requirements.lock $(ARGS) pyproject.toml
	echo 'setuptools>=77' | $(SUPPLY)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra traces \
		--constraints requirements.lock --custom-compile-command "make lock" --output-file deploy/requirements.lock pyproject.toml -

# What is installed, with its licences, as CycloneDX.
sbom: setup $(SUPPLY)/ready
	$(SUPPLY)/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
		--output-format JSON --output-file sbom.json $(BIN)/python
	$(BIN)/python -m tests.supply

demo: setup
	$(BIN)/python -P -m tds_demo

test: setup
	$(BIN)/python -m pytest -n 4 --dist worksteal

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
	$(BIN)/mkdocs build --strict --quiet

docs: setup
	$(BIN)/python -m tests.docs

# The documents as pages of HTML, in build/site, which load nothing from elsewhere.
site: setup
	$(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
