#!/bin/sh
# What the build needs beside Rust: a C compiler (SQLite, aws-lc) and make. Installs what is missing.
set -eu
missing=
command -v cc >/dev/null || missing="gcc"
[ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
command -v make >/dev/null || missing="$missing make"
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null || { echo "missing for the build: $missing; install them and run make again" >&2; exit 1; }
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
echo "installing for the build: $missing" >&2
apt-cache show gcc >/dev/null 2>&1 || $sudo apt-get -qq update
# shellcheck disable=SC2086  # a list of package names
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null || {
    echo "could not install $missing; install them by hand and run make again" >&2
    exit 1
}
