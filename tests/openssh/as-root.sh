#!/bin/sh
# Runs a command as root with the variables the tests read; cargo's runner for tests of the whole.
# Where all of it runs in the background, Ctrl-C is ignored, and would be by whatever a test interrupts.
set -- env --default-signal=INT "$@"
[ "$(id -u)" = 0 ] && exec "$@"
exec sudo env PATH="$PATH" HOME="$HOME" KEEP="${KEEP:-}" FIREAXE_BIN_DIR="${FIREAXE_BIN_DIR:-}" \
    FIREAXE_OPENSSH_DIR="${FIREAXE_OPENSSH_DIR:-}" RUST_BACKTRACE="${RUST_BACKTRACE:-}" \
    CARGO_MANIFEST_DIR="${CARGO_MANIFEST_DIR:-}" "$@"
