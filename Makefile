# make demo and make test do all their own set-up: Python >= 3.11, Rust 1.95 and make are enough.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUST   := $(shell find core edge -name '*.rs' -o -name Cargo.toml 2>/dev/null | grep -v /target/) Cargo.toml Cargo.lock

.PHONY: demo test lint bench docs setup fuzz world clean format

demo: $(VENV)/.built
	$(BIN)/python examples/01_pairs_on_a_simulated_day.py

test: $(VENV)/.complete $(VENV)/.built
	cargo test --workspace --exclude helios-bindings --quiet
	$(BIN)/python -m pytest

lint: $(VENV)/.complete $(VENV)/.built
	cargo fmt --check
	cd core && for crate in */; do (cd $$crate && cargo clippy --quiet --all-targets -- -D warnings) || exit 1; done
	cargo clippy --quiet --package helios-io --package helios-fix --package helios-exchange --package helios-live \
	    --package helios-fuzz --package helios-bindings --all-targets -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.complete $(VENV)/.built
	cargo fmt
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.complete $(VENV)/.built
	$(BIN)/python benches/run.py
	$(BIN)/python benches/compiled.py
	$(BIN)/python benches/pairs_scan.py
	$(BIN)/python benches/sweep.py
	$(BIN)/python benches/catalog.py

# Longer than CI runs it: make fuzz CASES=1000000
# Guided by coverage, one target of edge/fuzz: make fuzz TARGET=feed SECONDS=60. It wants a C++ compiler and cargo-fuzz
# (cargo install cargo-fuzz).
CASES ?= 200000
SECONDS ?= 60
SANITIZER ?= none
TARGET ?=
fuzz:
ifeq ($(TARGET),)
	PROPTEST_CASES=$(CASES) cargo test --release --package helios-wire --package helios-journal --package helios-live \
	    --package helios-exchange --package helios-fuzz
else
	@cargo fuzz --version > /dev/null || { echo "install cargo-fuzz first: cargo install cargo-fuzz"; exit 1; }
	cargo run --quiet --package helios-fuzz --example seeds -- $(TARGET) fuzz/corpus/$(TARGET)
	RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir fuzz --sanitizer $(SANITIZER) $(TARGET) -- \
	    -max_total_time=$(SECONDS) -max_len=4096 -rss_limit_mb=2048 -timeout=10
endif

# A trader and an exchange in one simulated world in which everything goes wrong, by seed: make world SEEDS=10000 FIRST=1
# Then with real processes that are killed: KILLS=100
SEEDS ?= 2000
FIRST ?= 1
KILLS ?= 30
world: $(VENV)/.complete $(VENV)/.built
	WORLD_SEEDS=$(SEEDS) WORLD_FIRST=$(FIRST) cargo test --release --package helios-live --test world -- --nocapture
	WORLD_KILLS=$(KILLS) $(BIN)/python -m pytest tests/python/test_world_processes.py

docs: $(VENV)/.installed
	test -x $(BIN)/zensical || $(BIN)/python -m pip install --quiet -c constraints.txt zensical
	$(BIN)/zensical build

setup: $(VENV)/.complete $(VENV)/.built

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	    maturin msgspec numpy plotly polars rich typer
	touch $@

# What tests, lints and benches need beyond that: the extras, the tools, and other libraries as oracles.
$(VENV)/.complete: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	    databento-dbn exchange_calendars numba obstore pandas 'psycopg[binary]' pyarrow statsmodels \
	    cryptography duckdb empyrical-reloaded hypothesis import-linter ipykernel 'moto[server]' mypy nbclient nbformat \
	    pytest quantstats ruff scipy
	touch $@

$(VENV)/.built: $(VENV)/.installed $(RUST)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release --quiet
	touch $@

clean:
	rm -rf target $(VENV) runs dist python/helios/_core*.so
