# Every target sets up what it needs: a virtual environment in .venv with the project installed.
# LOCKED=1 installs the exact versions that the committed results were made with (constraints.txt, Python 3.11).
PYTHON ?= python3
VENV ?= .venv
REPRO = $(VENV)/bin/python -m repro
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
ARGS ?=
LOCKED ?=
CONSTRAINTS = $(if $(LOCKED),constraints.txt)
INSTALLED = $(VENV)/installed$(if $(LOCKED),-locked)
# Processes of one thread each: threads of several processes that wait for one another would take many times as long.
PYTEST = OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder \
	--durations 20

.PHONY: help mnist mnist-choice speech specialists variants report verify bench config doctor test test-all lint clean

help:
	@echo 'make mnist         section 3 on MNIST, the committed results; ARGS="--profile list": how long each profile takes'
	@echo 'make mnist ARGS="--profile quick"    the same in a few minutes; --profile smoke in a minute or two'
	@echo 'make speech        sections 4 and 6 on synthetic speech; --profile speechocean762, quick, smoke as above'
	@echo 'make specialists   sections 5, 6.1, 8 on the embedded icons; --profile letters, cifar100, quick, smoke as above'
	@echo 'make variants      later methods, on MNIST and icons; --profile cifar100, quick, smoke as above'
	@echo 'make mnist-choice  the recipes tried for the MNIST profile paper, evaluated on the validation split'
	@echo 'make config ARGS=mnist    every setting with its meaning; ARGS="mnist --profile list": the profiles'
	@echo 'make report        regenerate all tables, figures and verdicts from the records; trains nothing'
	@echo 'make verify        retrain a few committed runs in 10 minutes and compare every metric; ARGS="mnist --minutes 3"'
	@echo 'make bench         measure the speed ratios of results/bench*.json'
	@echo 'make doctor        check this machine, its packages and folders; estimate how long the experiments take'
	@echo 'make test          the tests (a few minutes); make test-all: the slow ones too'
	@echo 'make lint          ruff, mypy and a check for unused code'
	@echo 'make clean         remove the virtual environment; runs/ and data/ stay'
	@echo
	@echo 'LOCKED=1           with any of these: the exact package versions of the committed results'

mnist mnist-choice speech specialists variants report verify bench config doctor: $(INSTALLED)
	$(REPRO) $@ $(ARGS)

test: $(INSTALLED)-test
	$(PYTEST) -m 'not slow' $(ARGS)

test-all: $(INSTALLED)-test
	$(PYTEST) $(ARGS)

lint: $(INSTALLED)-test
	$(VENV)/bin/ruff check repro tests
	$(VENV)/bin/ruff format --check repro tests
	$(VENV)/bin/mypy
	$(VENV)/bin/vulture

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: Python 3.11 or newer is required, not " + sys.version.split()[0] + "; name one, as in: make mnist PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(CONSTRAINTS:%=--constraint %) -e .
	touch $@

$(INSTALLED)-test: $(INSTALLED)
	$(PIP) $(CONSTRAINTS:%=--constraint %) -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV)
