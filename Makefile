# Needs Python 3.11 or newer and make; everything else goes into .venv, which it makes itself.
# `make demo ARGS="--kill primary"` passes arguments on; `make PYTHON=/path/to/python3.12 venv` picks
# another Python.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?=
ARGS ?=

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# A .venv that was copied along with its folder would still run the code of the old one, and one
# whose Python is gone would run nothing: either is made anew.
ifneq ($(shell test -x $(BIN)/python && cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

.PHONY: help
help: ## show this list
	@echo "Interlock: a gating primary/secondary sequencer"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

.PHONY: venv
venv: $(STAMP) ## make .venv with Interlock and the tools of its tests
	@:

$(STAMP): pyproject.toml constraints.txt
	@python=; \
	for candidate in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
		if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			python=$$candidate; break; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Interlock needs Python 3.11 or newer; found:" \
			"$$($(or $(PYTHON),python3) --version 2>&1 | head -1)." \
			"Install one, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; \
		exit 1; \
	fi; \
	if [ -e $(STAMP) ] && { [ ! -x $(BIN)/python ] || [ "$$(cat $(STAMP))" != "$(CURDIR)" ]; }; \
	then rm -rf $(VENV); fi; \
	echo "preparing $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@mkdir -p $(VENV)/types && ln -sfn ../.. $(VENV)/types/interlock
	@echo "$(CURDIR)" > $(STAMP)

.PHONY: demo
demo: venv ## run a pair with a load under the console (ARGS="--kill standby")
	@$(BIN)/interlock demo $(ARGS)

.PHONY: test
test: venv ## run the tests (ARGS="-k wire", or ARGS="-n 0": one by one)
	@$(BIN)/python -P -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

.PHONY: check
check: venv ## formatting, lint, types and tests: what has to pass
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(MAKE) test

.PHONY: format
format: venv ## format the code and order its imports
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --select I --fix --quiet .

SEEDS ?= 200
.PHONY: sim
sim: venv ## run the simulator (SEEDS=1000)
	@$(BIN)/python -P tests/sim/run.py --seeds $(SEEDS) $(ARGS)

HOURS ?= 1
.PHONY: soak
soak: venv ## run fresh seeds of the simulator until one fails (HOURS=8)
	@$(BIN)/python -P tests/sim/run.py --hours $(HOURS) $(ARGS)

.PHONY: mutants
mutants: venv ## plant each known bug and see that the simulator catches it (ARGS="--only ack")
	@$(BIN)/python -P tests/sim/mutants.py $(ARGS)

.PHONY: exhaust
exhaust: venv ## go through the interleavings of a small world (ARGS="--seconds 300")
	@$(BIN)/python -P tests/sim/exhaust.py $(ARGS)

.PHONY: faults
faults: venv ## do real faults to real processes, all of them (ARGS="-k power"; root)
	@$(BIN)/python -P -m pytest -m faults tests/faults $(ARGS)

.PHONY: drills
drills: venv ## drill all runbooks on pairs of their own, and print the table (ARGS="--reports DIR")
	@$(BIN)/interlock drill --all $(ARGS)

SECONDS ?= 60
.PHONY: fuzz
fuzz: venv ## give decoders and sockets any bytes (SECONDS=600 for each; needs atheris)
	@$(BIN)/python -P tests/fuzz/run.py --seconds $(SECONDS) $(ARGS)

.PHONY: screens
screens: venv ## draw the console's screens into docs/screens
	@$(BIN)/python -P tests/console/pictures.py

.PHONY: diagram
diagram: venv ## draw the states of a node into docs/architecture.md
	@$(BIN)/python -P docs/diagram.py

.PHONY: bench
bench: venv ## measure the essential in six minutes, and judge it by the targets
	@$(BIN)/interlock bench essential --out build/bench $(ARGS)

.PHONY: bench-peers
bench-peers: venv ## the pair beside Redis, NATS and PostgreSQL (as root it installs them)
	@$(BIN)/interlock bench peers $(if $(filter 0,$(shell id -u)),--install) --out build/bench-peers $(ARGS)

.PHONY: bench-switchover
bench-switchover: venv ## measure the pause of switchovers and promotions under load
	@$(BIN)/python -P -m interlock.bench.switchover $(ARGS)

.PHONY: bench-attacks
bench-attacks: venv ## measure what a good client notices while others attack the pair
	@$(BIN)/python -P -m interlock.bench.attacks $(ARGS)

.PHONY: bench-floor
bench-floor: venv ## measure the bare ZeroMQ relay that the pair is compared with
	@$(BIN)/python -P -m interlock.bench.floor $(ARGS)

# Resolved on the oldest Python: there every back-port is needed, so newer ones find all they need too.
OLDEST_PYTHON ?= python3.11
.PHONY: lock
lock: ## renew constraints.txt: the newest that pyproject.toml allows (network, Python 3.11)
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	$(OLDEST_PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' && \
	$(OLDEST_PYTHON) -m venv "$$scratch/venv" && \
	"$$scratch/venv/bin/python" -m pip install --quiet --editable '.[dev,fuzz]' && \
	"$$scratch/venv/bin/python" -m pip freeze --all --exclude-editable --exclude pip \
		> "$$scratch/found" && \
	{ echo "# Made by 'make lock': what 'make venv' and CI install, on Python 3.11 to 3.13."; \
		cat "$$scratch/found"; } > "$$scratch/lock" && \
	mv "$$scratch/lock" constraints.txt || \
	{ echo "constraints.txt is as it was: this needs Python 3.11 (make lock" \
		"OLDEST_PYTHON=/path/to/python3.11) and a package index that is reached" >&2; exit 1; }

# Nobody's answer is no clean bill: what could not be asked about fails the audit too.
.PHONY: audit
audit: ## ask for known vulnerabilities of what constraints.txt names (network)
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	$(or $(PYTHON),python3) -m venv "$$scratch/venv" && \
	"$$scratch/venv/bin/python" -m pip install --quiet 'pip-audit>=2.10,<3' || \
	{ echo "NOT AUDITED: pip-audit could not be installed; is the package index reached?" >&2; \
		exit 1; }; \
	"$$scratch/venv/bin/pip-audit" --strict --disable-pip --no-deps --progress-spinner off \
		--requirement constraints.txt 2> "$$scratch/said" && audited=yes || audited=no; \
	cat "$$scratch/said" >&2; \
	[ $$audited = yes ] && exit 0; \
	if grep -q '^Found [0-9]' "$$scratch/said"; then \
		echo "VULNERABLE: raise what is listed in pyproject.toml, then: make lock" >&2; \
	else \
		echo "NOT AUDITED: the index did not answer for every package, so nothing is known;" \
			"try again where it is reached in full" >&2; \
	fi; exit 1

.PHONY: clean
clean: ## remove what builds and tools left behind
	@rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## remove .venv as well
	@rm -rf $(VENV)
