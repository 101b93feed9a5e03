# make install | run | docs | test | test-long: on a machine with Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS ?= runs
REPORT ?= report
TORCH := torch==2.13.0

.PHONY: install run docs test tests test-long lint lock

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml requirements.lock Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python >= 3.11 is needed, $(PYTHON) is older: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements.lock
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
	@touch $@

# The versions and hashes again, where uv is installed: those that are there stay while they fit.
# torch is not among them: which build of it there is (CPU, CUDA, for which GPU) the index decides,
# each with files and requirements of its own. What all of them need is named here, and what builds
# the project.
lock:
	echo "torch; sys_platform == 'never'" > .no-torch
	printf 'networkx\nsetuptools\nsympy\n' | uv pip compile - pyproject.toml --extra dev \
		--universal --python-version 3.11 --generate-hashes --no-annotate --quiet \
		--override .no-torch --no-emit-package torch \
		--custom-compile-command 'make lock' --output-file requirements.lock
	rm .no-torch

# The main job on the embedded data; five to ten minutes on two cores.
run: install
	$(BIN)/benchmark run --dataset synthetic --models qamoe,mult --regime clean,spectrum \
		--protocol all --seeds 1111,1112 --epochs 6 \
		--set evaluation.draws=1 --runs-dir $(RUNS)
	$(BIN)/benchmark report --dataset synthetic --runs-dir $(RUNS) --out $(REPORT)
	@echo
	@echo "See it: the page of all tables, figures and landscapes is"
	@echo "  $(abspath $(REPORT))/synthetic/index.html"
	@echo "and in a browser with"
	@echo "  $(BIN)/benchmark open --out $(REPORT)"

docs: install
	$(BIN)/mkdocs build
	@echo "See it: $(abspath site)/index.html"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Both at once, and one more test at a time than there are cores: tests wait for other processes, and
# the types are checked by one core.
test: install
	$(MAKE) --no-print-directory --jobs 2 lint tests

tests: install
	$(BIN)/pytest -m 'not long' --dist worksteal --numprocesses \
		$$($(BIN)/python -c 'import os; print(len(os.sched_getaffinity(0)) + 1)')

test-long: install
	$(BIN)/pytest -m long
