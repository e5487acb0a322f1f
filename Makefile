# `make maze` and `make test` do all the set-up themselves, in .venv; they need Python 3.11 to 3.14 and make.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
# Another interpreter: make PYTHON=python3.12 (after `make clean` if .venv was made by a different one).
PYTHON ?=
# More options for `gsljax train maze`, for instance ARGS="--seed 3 --run-dir DIR".
ARGS ?=
# Two workers: tracing and compiling, where the tests' time goes, keep about one core each busy. One that crashes fails
# the run: pytest-xdist waits for ever for the tests of its file if it is replaced.
PYTEST_ARGS ?= -n 2 --dist loadfile --max-worker-restart 0

# Otherwise pyright asks the package index for its newest version on every run.
export PYRIGHT_PYTHON_IGNORE_WARNINGS = 1

.DEFAULT_GOAL := help
.PHONY: help maze test lint clean check-python
.DELETE_ON_ERROR:

help:
	@echo 'make maze    set up and run the brush maze (options: make maze ARGS="--seed 3 --run-dir DIR")'
	@echo 'make test    set up and run every check: ruff, pyright, pytest (options: make test PYTEST_ARGS="-n 4")'
	@echo 'make lint    set up and run the checks that need no execution: ruff, pyright'
	@echo 'make clean   remove .venv and the caches, never a run directory'
	@echo 'Add PYTHON=python3.12 to choose the interpreter that .venv is made with.'

maze: $(VENV)/.installed
	@$(BIN)/gsljax train maze $(ARGS)

# $(call timed,name,command): run the command, say how long it took, stop if it failed.
define timed
@echo '== $(1)'; start=$$(date +%s); \
if $(2); then echo "== $(1): passed in $$(($$(date +%s) - start)) s"; \
else echo "== $(1): FAILED after $$(($$(date +%s) - start)) s" >&2; exit 1; fi
endef

lint: $(VENV)/.installed-dev
	$(call timed,ruff check,$(BIN)/ruff check .)
	$(call timed,ruff format --check,$(BIN)/ruff format --check .)
	$(call timed,pyright,$(BIN)/pyright --pythonpath $(BIN)/python)

test: lint
	$(call timed,pytest,$(BIN)/python -m pytest $(PYTEST_ARGS))

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Every candidate is really run: a version manager's shim may exist and still refuse. The upper end is gymnax's.
# A .venv that was not made here is used if it can be, and never removed or remade.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
$(VENV)/.created: | check-python
	@if [ -e $(VENV) ]; then \
	  if $(BIN)/python -c '$(SUPPORTED)' >/dev/null 2>&1 && $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    touch $@; exit 0; \
	  fi; \
	  echo "error: $(VENV) exists but holds no working Python 3.11 to 3.14 with pip:" \
	       "run 'make clean' and try again" >&2; exit 1; \
	fi; \
	for python in $(if $(PYTHON),"$(PYTHON)",python3 python3.14 python3.13 python3.12 python3.11); do \
	  "$$python" -c '$(SUPPORTED)' >/dev/null 2>&1 || continue; \
	  if ! "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then lacking="$${lacking:-$$python}"; continue; fi; \
	  echo "Making $(VENV) with $$("$$python" -c 'import sys; print("Python", sys.version.split()[0], sys.executable)')"; \
	  trap 'rm -rf $(VENV)' INT TERM; \
	  if "$$python" -m venv $(VENV); then touch $@; exit 0; else rm -rf $(VENV); exit 1; fi; \
	done; \
	if [ -n "$$lacking" ]; then \
	  echo "error: $$lacking cannot make a virtual environment because its ensurepip is missing: install python3-venv" \
	       "(Debian, Ubuntu: apt install python3-venv) or choose another interpreter with PYTHON=..." >&2; \
	else \
	  echo "error: $(if $(PYTHON),PYTHON=$(PYTHON) is not a,found no) Python 3.11 to 3.14 that runs:" \
	       "install one or name it with PYTHON=..." >&2; \
	fi; exit 1

# A PYTHON=... that .venv was not made with would otherwise be silently ignored.
check-python:
	@version='import sys; print(sys.version_info[:2])'; \
	if [ -n "$(PYTHON)" ] && [ -e $(VENV) ] && \
	  [ "$$("$(PYTHON)" -c "$$version" 2>/dev/null)" != "$$($(BIN)/python -c "$$version")" ]; then \
	  echo "error: $(VENV) was made with another Python than PYTHON=$(PYTHON): run 'make clean' first" >&2; exit 1; \
	fi

$(VENV)/.installed: $(VENV)/.created requirements.txt pyproject.toml | check-python
	@echo "Installing gsljax and its pinned packages into $(VENV) (a few minutes the first time)"
	@$(PIP) install -r requirements.txt
	@$(PIP) install --no-deps --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt requirements-pools.txt
	@echo "Installing the pinned development tools into $(VENV)"
	@$(PIP) install -r requirements-dev.txt
	@touch $@
