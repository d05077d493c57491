# make study   the five-axis ablation on handwritten digits: no GPU, no download, no server
# make test    every test
# make lint    style and types
# make docs    the documentation site, build/site/index.html
# make chaos   KILLS=140 times on each launcher: processes, nodes, MLflow killed or suspended, clocks moved, disks full
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
EDITABLE := --config-settings editable_mode=compat
# Bytecode at once: where Python may write none (PYTHONDONTWRITEBYTECODE), every process would compile torch anew.
BYTECODE ?= --compile-bytecode
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# All cores for the studies; each trial keeps to the threads it is given.
STUDY ?= redundancy_ablation
ARGS ?=
# One more than there are cores: tests of processes and clusters wait for most of their time.
WORKERS ?= $(shell expr 1 + $$(getconf _NPROCESSORS_ONLN))
KILLS ?= 140

.PHONY: study test lint docs chaos format clean
study: $(VENV)/.installed
	$(BIN)/python -m studies run $(STUDY) $(ARGS)

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

chaos: $(VENV)/.installed-dev
	DYNVIT_KILLS=$(KILLS) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -s tests/cluster/test_chaos.py $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "docs      build/site/index.html"

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "python3 -m venv does not work here; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install -q uv

# uv installs the whole stack in a sixth of pip's time. compat: the clone stands on the path itself, so that `import dynvit`
# finds the package also in the folder above, where a folder dynvit is the clone.
$(VENV)/.installed: pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install -q $(BYTECODE) --python $(BIN)/python $(EDITABLE) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install -q $(BYTECODE) --python $(BIN)/python $(EDITABLE) -e '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
