# Every target installs what it needs into .venv first; after that all of them work offline.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo demo-reset ui test test-long test-drills check format bench bench-drift bench-size golden clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say which with make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/migration demo

demo-reset: $(READY)
	$(BIN)/migration demo --reset

ui: $(READY)
	$(BIN)/migration demo --ui

# Random histories, kills and drift: processes that die anywhere, servers that others wrote.
LONG := $(addprefix migration_assets_tests/,delivery resilience replica third_party whole_life \
	test_crash_machine.py cli/test_demo_chaos.py)
# Whole installations: killed daemons and workers, four machines' worth of processes, the UI in a browser.
DRILLS := $(addprefix migration_assets_tests/,ui drills)
PYTEST := $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test: $(READY)
	$(PYTEST) $(addprefix --ignore ,$(LONG) $(DRILLS))

test-long: $(READY)
	$(PYTEST) $(LONG)

test-drills: $(READY)
	$(PYTEST) $(DRILLS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Ten million units on both databases, one after the other: half an hour and 30 GB of disk.
bench-size: $(READY)
	MIGRATION_BENCH_UNITS=10000000 $(BIN)/python -m migration_assets_tests.bench size

golden: $(READY)
	$(BIN)/pytest migration_assets_tests/test_every_mapping.py migration_assets_tests/defs/test_whole_graph.py --update-golden

bench: $(READY)
	$(BIN)/python -m migration_assets_tests.bench

bench-drift: $(READY)
	$(BIN)/python -m migration_assets_tests.bench.drift

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
