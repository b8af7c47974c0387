# make train   train the default model on two-digit addition and show the gain
# make test    the whole test suite
# make check   format, lint, types and the fast tests
# make bench   step time and memory of the benchmark's workloads
# With a GPU: make train CONSTRAINTS=   (installs the newest torch instead of the pinned CPU set)

PYTHON ?= python3
CONSTRAINTS ?= -c constraints-cpu.txt
BIN := .venv/bin

.PHONY: train test check bench

train: .venv/installed
	$(BIN)/groupwise train

test: .venv/installed
	$(BIN)/python -m pytest

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow and not learning"

bench: .venv/installed
	$(BIN)/python bench/step.py

.venv/installed: pyproject.toml constraints-cpu.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(CONSTRAINTS) -e '.[dev]'
	touch $@
