#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# From a fresh Debian 12 or 13 to a finished demo or test run:
#
#     ./setup.sh demo     installs what is missing, builds, quantizes the small network in demo/
#     ./setup.sh test     the same for the tests, with a Python environment of their own in .venv
#
# Packages that are already installed are left alone, so it may be run again at any time.
set -eu
cd "$(dirname "$0")"

# gcc itself needs libc6-dev; the rest is what CMakeLists.txt asks for
BUILD_PACKAGES="gcc libc6-dev cmake make pkg-config libdnnl-dev libonnx-dev libprotobuf-c-dev
    protobuf-c-compiler libjansson-dev libpng-dev libjpeg62-turbo-dev
    libcmocka-dev"
TEST_PACKAGES="python3 python3-venv"

say() {
    printf '== %s\n' "$*"
}

die() {
    printf 'setup.sh: %s\n' "$*" >&2
    exit 1
}

usage() {
    sed -n '3,8s/^# \{0,1\}//p' "$0"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "installing packages needs root and there is no sudo; as root, run: $*"
    fi
}

is_installed() {
    dpkg -s "$1" 2>/dev/null | grep -q '^Status: install ok installed'
}

install_packages() {
    missing=
    for package in "$@"; do
        is_installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    say "installing$missing"
    as_root apt-get update
    # $missing is split into words on purpose
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
}

# The environment is made anew when requirements.txt has changed, or where it is of another machine.
make_venv() {
    if ! .venv/bin/python -c '' 2>/dev/null; then
        say "making the Python environment .venv"
        rm -rf .venv
        python3 -m venv .venv
    fi
    if ! cmp -s tests/requirements.txt .venv/requirements.txt; then
        .venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
        cp tests/requirements.txt .venv/requirements.txt
    fi
}

if ! command -v dpkg >/dev/null || ! command -v apt-get >/dev/null; then
    die "this script knows Debian's packages only; docs/fresh-machine.md says what to install elsewhere"
fi

case "${1-}" in
demo)
    # shellcheck disable=SC2086
    install_packages $BUILD_PACKAGES
    say "building"
    make
    say "running the demo"
    make demo
    ;;
test)
    # shellcheck disable=SC2086
    install_packages $BUILD_PACKAGES $TEST_PACKAGES
    make_venv
    say "building and testing"
    make check
    ;;
*)
    usage
    exit 2
    ;;
esac
