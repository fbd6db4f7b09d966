# Everything runs in .venv, which is made on first use. PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
BENCH  := $(VENV)/.installed-bench
FUZZ   := $(VENV)/.installed-fuzz

.PHONY: demo test check bench bench-quick bench-docs stress fuzz clean

demo: $(STAMP)
	$(BIN)/sessiondir demo

test: $(STAMP)
	$(BIN)/python -m pytest -m "not stress" $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(BENCH)
	$(BIN)/python -m benchmarks $(ARGS)

bench-quick: $(BENCH)
	$(BIN)/python -m benchmarks --quick $(ARGS)

# Measures everything and renews the tables and plots of README and docs; wants a quiet machine.
bench-docs: $(BENCH)
	$(BIN)/python -m benchmarks --update-docs $(ARGS)

# SECONDS_EACH is how long each of the long tests goes on.
SECONDS_EACH ?= 60
stress: $(STAMP)
	SESSIONDIR_STRESS_SECONDS=$(SECONDS_EACH) $(BIN)/python -m pytest -m stress -s --timeout 3600 $(ARGS)

# Every parser under a coverage-guided fuzzer, SECONDS_EACH seconds each; ARGS names some of them.
fuzz: $(FUZZ)
	cd tests && ../$(BIN)/python -m fuzz $(SECONDS_EACH) $(ARGS)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "sessiondir needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,dev]'
	@touch $(STAMP)

$(BENCH): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $(BENCH)

$(FUZZ): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	@touch $(FUZZ)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
