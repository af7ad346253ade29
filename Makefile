# make train   install, then train AMAGAIL on stochastic_coop_nav, or resume an interrupted run; training takes at
#              most 10 minutes, BUDGET=1h allows more
# make test    install, then run the tests on up to 4 cores (including the slow ones: make test-all);
#              PYTEST_FLAGS="-n 0 -x tests/test_views.py" runs one file in one process
# make lint    run ruff, ruff format and pyright
# make bench   measure speed on this machine
# make clean   remove the virtual environment and caches, but not runs

PYTHON ?= python3
VENV   ?= .venv
RUN    ?= runs/quickstart
BUDGET ?= 10m
PIP_FLAGS ?=
PYTEST_FLAGS ?=
PARALLEL := -n auto --maxprocesses 4 --dist worksteal
GAME   := stochastic_coop_nav

PY    := $(VENV)/bin/python
# One file per set of extras that is installed: `train` needs only the learners.
DEV   := $(VENV)/.dev
TRAIN := $(if $(wildcard $(VENV)/.dev),$(DEV),$(VENV)/.learners)

# Each test process has a core, so none gains by threads of its own.
test test-all: export OMP_NUM_THREADS ?= 1

export PYGAME_HIDE_SUPPORT_PROMPT := 1

.DEFAULT_GOAL := help
.PHONY: help setup train test test-all lint bench clean

help:
	@sed -n '/^$$/q; s/^# //p' $(firstword $(MAKEFILE_LIST))

setup: $(DEV)

# Runs again only when the dependencies change.
$(VENV)/.dev $(VENV)/.learners: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "mail_envs needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo 'Installing mail_envs[$(subst .,,$(@F))] into $(VENV); this downloads PyTorch and takes some minutes.'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --disable-pip-version-check $(PIP_FLAGS) \
		--constraint constraints.txt --editable '.[$(subst .,,$(@F))]'
	@touch $@

train: $(TRAIN)
	@echo 'Training for at most $(BUDGET); then the policy is evaluated and an episode is drawn: $(RUN)'
	$(PY) -m learners.amagail $(if $(wildcard $(RUN)/config.yaml),--resume $(RUN),\
		--preset quick --env $(GAME) --run-dir $(RUN)) --budget $(BUDGET)

test: $(DEV)
	$(PY) -m pytest -m "not slow" $(PARALLEL) $(PYTEST_FLAGS)

test-all: $(DEV)
	$(PY) -m pytest $(PARALLEL) $(PYTEST_FLAGS)

lint: $(DEV)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright

bench: $(DEV)
	$(PY) -m mail_envs bench

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
