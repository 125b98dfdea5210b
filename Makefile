# `make test` on a fresh machine makes .venv by itself; nothing else is needed but Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# One thread a worker: a second one costs more than it gives on models this small.
export OMP_NUM_THREADS := 1

.PHONY: test coverage demo docs lint format clean

test: $(READY)
	$(BIN)/python -m pytest -n 2

# Lines and branches that the tests reach, those of the processes that they start included.
coverage: $(READY)
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term

# It runs alone, so with all threads. What reads the decoder that it brings (gguf) is among the dev extras.
demo: $(READY)
	env -u OMP_NUM_THREADS $(BIN)/transferkit demo

# Into site/, without network; a broken link or anchor fails it.
docs: $(VENV)/.docs-ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache .mypy_cache

# torch comes first and exactly: a looser range can replace a CPU build by gigabytes of CUDA libraries.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $$(grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install --quiet -e '.[dev]' -c constraints.txt
	touch $@

$(VENV)/.docs-ready: $(READY)
	$(BIN)/python -m pip install --quiet -e '.[docs]' -c constraints.txt
	touch $@
