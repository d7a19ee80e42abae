# What CI runs, by hand. `make ci` runs all of it.
PYTHON ?= python3
VENV ?= .venv-test
RUN = $(VENV)/bin

.PHONY: ci lint types test long ray bars statistics build

$(VENV):
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install -q -e '.[local,dev]'

lint: | $(VENV)
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: | $(VENV)
	$(RUN)/mypy

test: | $(VENV)
	$(RUN)/pytest

long: | $(VENV)  ## whole-grid simulations and long kill tests
	$(RUN)/pytest -m long

ray: | $(VENV)  ## the same run on a cluster of two workers, one of which is killed
	$(RUN)/pip install -q -e '.[ray]'
	$(RUN)/pytest -m ray -n 0 tests/test_ray.py

bars: | $(VENV)  ## kill -9 at five moments, the demo twice, start-up time
	$(RUN)/python benchmarks/bars.py

faults: | $(VENV)  ## a thousand kills, every kind of network fault, every call to a disk that fails (needs strace); about an hour
	$(RUN)/python benchmarks/faults.py --kills 1000 --network --disk

statistics: | $(VENV)  ## every cell of every coverage and error grid
	$(RUN)/python benchmarks/statistics.py --whole

build: | $(VENV)
	$(RUN)/python -m build

ci: lint types test build
