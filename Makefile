# Two commands on a fresh Debian 12 with a Rust toolchain and root or sudo:
#
#   make demo     builds, then plays the main job against a real sshd; KEEP=1 leaves the world running
#   make test     everything the project tests
#   make bench    the figures of docs/PERFORMANCE.md, release build
#   make fmt      formats the code
#
# What they need (a C compiler, an OpenSSH server's program) they fetch; neither touches this machine's
# sshd, users, homes or /etc/ssh.

SHELL := /bin/sh
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
TRIPLE = $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p' | tr a-z- A-Z_)
# Tests of the whole need root for their namespaces: cargo runs their binaries through this.
AS_ROOT := $(CURDIR)/tests/openssh/as-root.sh
export FIREAXE_OPENSSH_DIR := $(TARGET)/openssh

.PHONY: demo test bench fmt lint unit end-to-end build crash-build tools openssh more root

demo: root openssh
	@echo "building (the first time takes a few minutes) ..."
	@$(CARGO) build --quiet --locked --workspace --bins
	@KEEP='$(KEEP)' $(AS_ROOT) $(TARGET)/debug/demo

test: lint unit end-to-end
	@echo "make test: all of it passed"

lint: tools
	$(CARGO) fmt --all --check || { echo "the code is not formatted: run 'make fmt'" >&2; exit 1; }
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings

unit: tools
	$(CARGO) test --locked --no-fail-fast --workspace --exclude fireaxe-tests

end-to-end: root openssh more build
	CARGO_TARGET_$(TRIPLE)_RUNNER=$(AS_ROOT) $(CARGO) test --locked -p fireaxe-host --lib sink::tests::disk -- --ignored
	CARGO_TARGET_$(TRIPLE)_RUNNER=$(AS_ROOT) $(CARGO) test --locked --no-fail-fast -p fireaxe-tests

# The same program with its crash points, set aside before the normal build takes its place.
crash-build: tools
	$(CARGO) build --locked -p fireaxe-ca --features crash-points
	@mkdir -p $(TARGET)/crash
	@cp -f $(TARGET)/debug/fireaxe-ca $(TARGET)/crash/fireaxe-ca

build: crash-build
	$(CARGO) build --locked --workspace --bins
	$(CARGO) build --locked -p fireaxe-host --examples

bench: root openssh
	$(CARGO) build --release --locked --workspace --bins
	$(CARGO) bench --locked -p fireaxe-tests --bench steps
	@$(AS_ROOT) $(TARGET)/release/bench

fmt:
	$(CARGO) fmt --all

openssh: tools
	@sh tests/openssh/provide.sh $(TARGET)

more: openssh
	@sh tests/openssh/provide.sh $(TARGET) shells tools backports

tools:
	@command -v $(CARGO) >/dev/null || { echo "there is no Rust toolchain: see https://rustup.rs" >&2; exit 1; }
	@sh tests/openssh/compiler.sh

root:
	@[ "$$(id -u)" = 0 ] || command -v sudo >/dev/null || { \
	  echo "this needs root or sudo: the test hosts live in namespaces of their own" >&2; exit 1; }
