# Every target sets up what it needs; see README.md.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: demo test test-assert soak install bench lint doc setup data

export PATH := $(PATH):$(HOME)/.cargo/bin
export USER ?= $(shell id -un)
# The build script passes the needed flag, so that dependencies are compiled once.
export CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND := 1
# In a server's environment it would put a backtrace into every error's DETAIL.
unexport RUST_BACKTRACE

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PG = pg$$(pg_config --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')
FEATURES = --no-default-features --features $(PG)
ANN = cargo bench $(FEATURES) --bench ann --
# Written by the last `make install`; the tests install a build of their own over it.
INSTALLED = target/.installed
# The server must be able to enter this folder, so it is not below a closed home.
DEMO_CLUSTER ?= /var/tmp/vdb-demo-$(USER)

demo: install data
	$(ANN) demo --cluster $(DEMO_CLUSTER)

# The lib tests run first: they install the extension that the server tests use.
test: setup
	.ci/data || echo "SKIPPED: no word vectors, so the recall test will be skipped"
	$(SUDO) rm -f "$$(pg_config --pkglibdir)/vdb.so" $(INSTALLED)
	scratch=$$(mktemp -d); chmod 755 "$$scratch"; trap '$(SUDO) rm -rf "$$scratch"' EXIT
	$(SUDO) install -d -o postgres "$$scratch/t"
	cargo pgrx test $(PG) --runas postgres --pgdata "$$scratch/t/data"

# The same on a PostgreSQL with assertions, built from Debian's source package. Its headers differ,
# so it has its own artefacts. Faults are injected at about six times as many places.
test-assert: setup
	.ci/data || echo "SKIPPED: no word vectors, so the recall test will be skipped"
	pg_config=$$(.ci/assert)
	export PATH="$$(dirname "$$pg_config"):$$PATH" PGRX_HOME="$$PWD/target/assert/pgrx" CARGO_TARGET_DIR="$$PWD/target/assert"
	mkdir -p "$$PGRX_HOME"
	cargo pgrx init "--$(PG)" "$$pg_config"
	export VDB_FAULTS=all
	scratch=$$(mktemp -d); chmod 755 "$$scratch"; trap '$(SUDO) rm -rf "$$scratch"' EXIT
	$(SUDO) install -d -o postgres "$$scratch/t"
	cargo pgrx test $(PG) --runas postgres --pgdata "$$scratch/t/data"

# The long form of `make test`: servers that are killed under load; degenerate data of every kind in
# every index; thousands of pages with flipped bits; many random tables.
soak: install
	export VDB_SOAK_ROUNDS=$${VDB_SOAK_ROUNDS:-50} VDB_DEGENERATE=all VDB_BITFLIPS=$${VDB_BITFLIPS:-3000}
	export VDB_DIFFERENTIAL_ROUNDS=$${VDB_DIFFERENTIAL_ROUNDS:-100}
	cargo test --release $(FEATURES) --test server -- soak degenerate bitflips differential

install: setup $(INSTALLED)

# Unlinks the old file first, because a running server may have mapped it.
$(INSTALLED): Cargo.toml Cargo.lock vdb.control $(shell find src sql -type f)
	$(SUDO) rm -f "$$(pg_config --pkglibdir)/vdb.so"
	cargo pgrx install --release $(if $(SUDO),--sudo) --pg-config "$$(command -v pg_config)" $(FEATURES)
	touch $@

bench: install data
	cargo bench $(FEATURES) --bench kernels
	$(ANN) run

lint: setup doc
	cargo fmt --check
	cargo clippy --all-targets $(FEATURES) -- -D warnings
	cargo test $(FEATURES) --test house

doc: setup
	RUSTDOCFLAGS="-D warnings" cargo doc --document-private-items --no-deps $(FEATURES)

setup:
	.ci/setup

data:
	.ci/data

.ONESHELL:
