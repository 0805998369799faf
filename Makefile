# Every target sets up what it needs: a virtual environment in .venv with the project installed.
PYTHON ?= python3
VENV ?= .venv
REPRO = $(VENV)/bin/python -m repro
ARGS ?=

.PHONY: help mnist mnist-choice speech specialists variants report bench test lint clean

help:
	@echo 'make mnist         section 3 on MNIST, the paper profile (two hours and a quarter on 2 cores without AMX)'
	@echo 'make mnist ARGS="--profile quick"    the same in a few minutes; --profile smoke in seconds'
	@echo 'make speech        sections 4 and 6 on synthetic speech; --profile speechocean762, quick, smoke as above'
	@echo 'make specialists   sections 5 and 6.1 on the embedded icons; --profile cifar100, quick, smoke as above'
	@echo 'make variants      what became of the idea, on MNIST and icons; --profile cifar100, quick, smoke as above'
	@echo 'make mnist-choice  recipes that were tried for the paper profile, on the validation split'
	@echo 'make report        all tables, figures and verdicts anew from the records; trains nothing'
	@echo 'make bench         the speed ratios of results/bench.json'
	@echo 'make test          the tests (a few minutes)'
	@echo 'make lint          ruff and mypy'
	@echo 'make clean         remove the virtual environment; runs/ and data/ stay'

mnist mnist-choice speech specialists variants report bench: $(VENV)/installed
	$(REPRO) $@ $(ARGS)

# Processes of one thread each: threads of several that wait for one another would take many times as long.
test: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/installed-test
	$(VENV)/bin/ruff check repro tests
	$(VENV)/bin/mypy

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: Python 3.11 or newer is needed, not " + sys.version.split()[0] + "; name one, as in: make mnist PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV)
