# Everything runs in .venv, which is made on first use. PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
FUZZ   := $(VENV)/.installed-fuzz

# The compiled form, in an environment of its own: compiled modules beside the sources would hide changes of them.
COMPILED := .venv-compiled
WHEEL    := build/wheel/.built
BENCH    := $(COMPILED)/.installed-bench
SOURCES  := $(shell find src -name '*.py')

.PHONY: demo test test-compiled check bench bench-quick bench-docs stress fuzz clean

demo: $(STAMP)
	$(BIN)/sessiondir demo

test: $(STAMP)
	$(BIN)/python -m pytest -m "not stress" $(ARGS)

# The same tests on the compiled form; needs a C compiler.
test-compiled: $(COMPILED)/.installed
	@$(COMPILED)/bin/sessiondir --version | grep -q '(compiled)' || { echo "not compiled: is there a C compiler?"; exit 1; }
	$(COMPILED)/bin/python -m pytest -m "not stress" $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(BENCH)
	$(COMPILED)/bin/python -m benchmarks $(ARGS)

bench-quick: $(BENCH)
	$(COMPILED)/bin/python -m benchmarks --quick $(ARGS)

# Measures everything and renews the tables and plots of README and docs; wants a quiet machine.
bench-docs: $(BENCH)
	$(COMPILED)/bin/python -m benchmarks --update-docs $(ARGS)

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

$(WHEEL): pyproject.toml $(SOURCES)
	rm -rf build/wheel build/source && mkdir -p build/wheel build/source
	cp -R src pyproject.toml README.md LICENSE build/source
	HATCH_BUILD_HOOK_ENABLE_MYPYC=1 $(PYTHON) -m pip wheel --quiet --no-deps -w build/wheel build/source || \
	  { echo "sessiondir could not be compiled (see above); it goes on interpreted, which is slower"; \
	    $(PYTHON) -m pip wheel --quiet --no-deps -w build/wheel build/source; }
	@touch $(WHEEL)

$(COMPILED)/.installed: $(WHEEL)
	$(PYTHON) -m venv $(COMPILED)
	$(COMPILED)/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps build/wheel/*.whl
	$(COMPILED)/bin/python -m pip install --quiet --disable-pip-version-check "$$(ls build/wheel/*.whl)[test]"
	@touch $@

$(BENCH): $(COMPILED)/.installed
	$(COMPILED)/bin/python -m pip install --quiet --disable-pip-version-check "$$(ls build/wheel/*.whl)[bench]"
	@touch $(BENCH)

$(FUZZ): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	@touch $(FUZZ)

clean:
	rm -rf $(VENV) $(COMPILED) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
