# adsbench: `make report` opens a week, `make test` proves it. Both set everything up by themselves.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
UV_VERSION := 0.13.8
BIN := .venv/bin
CUSTOMER ?= demo
PLATFORM ?= meta
NAME ?= weekly
AS_OF ?=
LAB_ARGS ?=
QUICK ?= --quick
CHAPTERS = $(shell find nbs -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' | sort)
TEMPLATES = $(wildcard reports/*.ipynb)
# a kernel on ipc sockets needs an absolute place for them, and no open port
EXECUTE = $(BIN)/jupyter nbconvert --log-level=WARN --to notebook --execute --inplace --KernelManager.transport=ipc
export OMP_NUM_THREADS ?= 1
export PYTHONWARNINGS ?= ignore
export MPLBACKEND ?=

.PHONY: help setup lock export clean chapters drift lint format types chapter-tests pytest test-coverage book report run demo validate lab bench wheel test

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: .venv/.done ## make .venv from requirements.lock (a second call does nothing)

.venv/.done: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"error: Python {v[0]}.{v[1]} in .venv, adsbench needs 3.11 to 3.13; rm -r .venv and run make setup PYTHON=python3.11")'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) 2>&1 | grep -v '^WARNING' || true
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

lock: ## solve requirements.lock again after a change of pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --universal --all-extras --generate-hashes --no-header --no-annotate --quiet --python-version 3.11 -o requirements.lock

export: setup ## write adsbench/ from the chapters, nothing stale, formatted
	@test -n "$(CHAPTERS)" || { echo 'error: no chapter under nbs/, nothing to export'; exit 1; }
	@$(BIN)/python tests/drift.py write

clean: setup ## strip chapters and templates of what does not belong in git (never run folders)
	@$(BIN)/nbdev_clean --fname nbs
	@for t in $(TEMPLATES); do $(BIN)/nbdev_clean --fname $$t; done

chapters: setup ## run every chapter in place, then clean
	@printf '%s\n' $(CHAPTERS) | xargs -P 2 -I{} sh -c 'd=$$(mktemp -d) && $(EXECUTE) --KernelManager.ip=$$d/k "{}" && rm -r $$d'
	@$(MAKE) --no-print-directory clean

drift: setup ## export and clean would change no file
	@$(BIN)/python tests/drift.py check

lint: setup ## ruff and mypy
	@$(BIN)/ruff check adsbench nbs reports tests
	@$(BIN)/ruff format --check adsbench nbs reports tests
	@$(BIN)/mypy adsbench

format: setup ## ruff fix and format, then export
	@$(BIN)/ruff check --fix --quiet nbs reports tests; $(BIN)/ruff format --quiet nbs reports tests
	@$(MAKE) --no-print-directory export

chapter-tests: setup ## read the chapters top to bottom
	@$(BIN)/nbdev_test --n_workers 2 --do_print

pytest: setup ## the tests, without coverage
	@$(BIN)/python -m pytest -n 2

test-coverage: setup ## the tests with coverage of adsbench
	@$(BIN)/python -m pytest -n 2 --cov=adsbench --cov-report=term-missing

book: setup ## the chapters as one book of web pages: book/html/index.html
	@$(BIN)/python -m sphinx -W --keep-going -q -b html nbs book/html
	@echo book/html/index.html

demo: setup ## the simulated customer, if it is not there yet
	@test -d datasets/demo/meta/tables || $(BIN)/adsbench --root . demo

report: setup ## a weekly page: CUSTOMER=demo PLATFORM=meta NAME=weekly AS_OF=
	@if [ "$(CUSTOMER)" = demo ]; then $(MAKE) --no-print-directory demo; fi
	@$(BIN)/adsbench --root . report $(NAME) -c $(CUSTOMER) -p $(PLATFORM) $(if $(AS_OF),--as-of $(AS_OF))

run: setup ## the demo's analysis: data checked, features, report
	@$(MAKE) --no-print-directory demo
	@$(BIN)/adsbench --root . validate -c demo
	@$(BIN)/adsbench --root . features -c demo
	@$(BIN)/adsbench --root . report weekly -c demo

validate: setup ## what works here: versions, optional parts, keys (never their values)
	@$(BIN)/adsbench --root . doctor

lab: setup ## JupyterLab with the chapters and the report templates
	@$(MAKE) --no-print-directory demo
	@$(BIN)/jupyter lab --FileContentsManager.pre_save_hook=nbdev.clean.clean_jupyter --LabApp.default_url=/lab/tree/nbs/index.ipynb $(LAB_ARGS)

bench: setup ## every benchmark in short, ours and the peers in one run; QUICK= runs them in full
	@for b in $(filter-out tests/bench/customers.py,$(wildcard tests/bench/*.py)); do echo "== $$b"; $(BIN)/python $$b $(QUICK); done
	@$(BIN)/python tests/bench/ingest.py --fuzz 10000

wheel: setup ## the package as a wheel in dist/
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv build --quiet --wheel --no-build-isolation -o dist .
	@ls dist/*.whl

test: setup ## everything CI checks
	@$(MAKE) --no-print-directory drift
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory chapter-tests
	@$(MAKE) --no-print-directory test-coverage
	@$(MAKE) --no-print-directory book
