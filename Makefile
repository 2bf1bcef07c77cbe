# make run | test | bench | load: each installs what it lacks, by apt where root or sudo is there.

CARGO ?= cargo
CONFIG ?= configs/dev.toml
TARGET := $(or $(CARGO_TARGET_DIR),target)
PEERS := $(TARGET)/peers

# To build and run: the compiler of the eBPF programs and its headers.
PACKAGES := clang libbpf-dev linux-libc-dev
# To test and load: SIP clients, network namespaces.
PACKAGES_TEST := sip-tester sipsak iproute2 nftables procps
# To compare with: unpacked below $(PEERS), never installed, so that no service takes port 5060.
PACKAGES_PEERS := kamailio

.PHONY: help deps deps-test deps-peers run test bench load clean

help:
	@echo 'make run        build and start the edge with $(CONFIG)'
	@echo 'make test       format, lints, every test, documentation'
	@echo 'make bench      the measurements of docs/measurements.md'
	@echo 'make load       every SIPp scenario, and 20 000 phones that refresh, against edges of its own'
	@echo 'make deps, deps-test, deps-peers   install what is missing for these'

deps:
	@./.ci/install $(PACKAGES)

deps-test: deps
	@./.ci/install $(PACKAGES_TEST)

deps-peers:
	@./.ci/unpack $(PEERS) $(PACKAGES_PEERS)

run: deps
	$(CARGO) build --release --bin ringfence
	exec $(TARGET)/release/ringfence run --config $(CONFIG)

test: deps-test
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) build --no-default-features --lib
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps
	$(CARGO) test --workspace

bench: deps-test deps-peers
	$(CARGO) build --release --workspace
	$(CARGO) bench
	$(TARGET)/release/ringfence-loadtest compare --edge $(TARGET)/release/ringfence \
		--kamailio $(PEERS)

load: deps-test
	$(CARGO) build --release --workspace
	$(TARGET)/release/ringfence-loadtest sipp --edge $(TARGET)/release/ringfence
	$(TARGET)/release/ringfence-loadtest refresh --edge $(TARGET)/release/ringfence

clean:
	$(CARGO) clean
	rm -rf var
