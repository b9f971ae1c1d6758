# `make quickstart` and `make test` do all the set-up themselves; PYTHON picks the interpreter (3.11 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN ?= runs/quickstart
# On Linux a step on CPU asks for gigabytes anew each time: with huge pages a third of its time is not spent on faults.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: quickstart test test-all lint clean bench bench-evaluation bench-decode

quickstart: $(VENV)/.run
	$(BIN)/atomas run experiments/quickstart.py --run $(RUN)
	@echo "Open $(RUN)/report.html"

test: $(VENV)/.test
	$(BIN)/python -m pytest

test-all: $(VENV)/.test
	$(BIN)/python -m pytest -m ""

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks

bench-decode: $(VENV)/.test
	$(BIN)/python -m benchmarks.decoding --out benchmarks/decoding.json

lint: $(VENV)/.test
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

bench-evaluation: $(VENV)/.run
	$(BIN)/python -m benchmarks.evaluation

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make PYTHON=python3.12"'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python requirements.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) runs corpora
