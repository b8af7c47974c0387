# make train   train the default model on two-digit addition and show the gain
# make test    the whole test suite
# make lint    format, lint and types
# make check   the same, and the fast tests
# make bench   against TRL, PPO and the machine's limits: hours on two cores; each script of
#              bench/ runs alone and explains itself with --help
# With a GPU: make train CONSTRAINTS=   (installs the newest torch instead of the pinned CPU set)

PYTHON ?= python3
CONSTRAINTS ?= -c constraints-cpu.txt
BIN := .venv/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile  # two processes of one thread each

.PHONY: train test lint check bench

train: .venv/installed
	$(BIN)/groupwise train

test: .venv/installed
	$(PYTEST)

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint
	$(PYTEST) -m "not slow and not learning"

bench: .venv/installed
	$(BIN)/python bench/limits.py --out bench/results/limits.json
	$(BIN)/python bench/compare.py --out bench/results/compare.json
	$(BIN)/python bench/ppo.py --out bench/results/ppo.json
	$(BIN)/python bench/growth.py --out bench/results/growth.json
	$(BIN)/python bench/reach.py --side ours --every 1 --out bench/results/reach.json
	-$(BIN)/python bench/reach.py --side trl-fp32 --every 1 --out bench/results/reach.json
	$(BIN)/python bench/adaptive.py
	$(BIN)/python bench/plan_check.py
	$(BIN)/python bench/pictures.py

.venv/installed: pyproject.toml constraints-cpu.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(CONSTRAINTS) -e '.[dev]'
	touch $@
