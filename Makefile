# make install | run | test: on a machine with Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS ?= runs
REPORT ?= report

.PHONY: install run test lint

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python >= 3.11 is needed, $(PYTHON) is older: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# The main job on the embedded data; five to ten minutes on two cores.
run: install
	$(BIN)/benchmark run --dataset synthetic --models qamoe,mult --regime clean,spectrum \
		--protocol all --seeds 1111,1112 --epochs 6 \
		--set evaluation.draws=1 --runs-dir $(RUNS)
	$(BIN)/benchmark report --dataset synthetic --runs-dir $(RUNS) --out $(REPORT)
	@echo
	@echo "Next:"
	@echo "  $(BIN)/benchmark ui --runs-dir $(RUNS)"
	@echo "  $(BIN)/benchmark run --models qamoe --set model.topk=8 --epochs 6 --runs-dir $(RUNS)"
	@echo "  $(BIN)/benchmark data import YOUR_FEATURES.pkl --name mosi --data-dir data"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest --numprocesses auto
