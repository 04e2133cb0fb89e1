# Every target installs what it needs into .venv first; after that all of them work offline.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo demo-reset ui test test-drills check format bench bench-drift bench-size golden clean

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

test: $(READY)
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore migration_assets_tests/drills --ignore migration_assets_tests/ui

# Whole installations: killed daemons and workers, four machines' worth of processes, the UI in a browser.
test-drills: $(READY)
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder migration_assets_tests/ui migration_assets_tests/drills

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
