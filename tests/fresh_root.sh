#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The two commands of the README on a fresh Debian: as root, from anywhere in a clone,
#
#     tests/fresh_root.sh SUITE [FOLDER]      SUITE: bookworm, trixie ...
#
# A minimal system is made in FOLDER (default: a new folder under /tmp, removed afterwards) from the mirror that this
# machine's own apt uses; HEAD of this clone is cloned into it, and ./setup.sh demo and ./setup.sh test run there.
# Resolver, certificates and apt's settings are taken from this machine. Needs debootstrap and git.
set -eu
suite=${1:?usage: tests/fresh_root.sh SUITE [FOLDER]}
project=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)

die() {
    printf 'fresh_root.sh: %s\n' "$*" >&2
    exit 1
}

[ "$(id -u)" -eq 0 ] || die "debootstrap and chroot need root"
command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"

# "URI SUITE" of each source that apt uses here
sources() {
    # shellcheck disable=SC2016  # apt's fields, not the shell's
    apt-get indextargets --format '$(SITE) $(RELEASE)' | sort -u
}

# shellcheck source=/dev/null
own_suite=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:?}")
mirror=$(sources | awk -v suite="$own_suite" '$2 == suite { print $1; exit }')
security=$(sources | awk -v suite="$own_suite-security" '$2 == suite { print $1; exit }')
[ -n "$mirror" ] || die "apt here has no source for $own_suite: run apt-get update first"

root=${2-}
if [ -z "$root" ]; then
    root=$(mktemp -d "/tmp/fresh-$suite-XXXXXX")
    remove_root=yes
fi

leave() {
    umount "$root/proc" "$root/dev/pts" 2>/dev/null || true
    [ -z "${remove_root-}" ] || rm -rf --one-file-system "$root"
}
trap leave EXIT
trap 'exit 1' INT TERM

[ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror"

# Inside, apt and pip reach the network the way they do here.
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
cp -r /etc/apt/apt.conf.d "$root/etc/apt/"
rm -f "$root/etc/apt/sources.list" "$root"/etc/apt/sources.list.d/*
{
    echo "deb $mirror $suite main"
    echo "deb $mirror $suite-updates main"
    [ -z "$security" ] || echo "deb $security $suite-security main"
} >"$root/etc/apt/sources.list"
[ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$root/etc/"

rm -rf "$root/opt/zeroq"
git clone --quiet "$project" "$root/opt/zeroq"
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
mountpoint -q "$root/dev/pts" || mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"

for what in demo test; do
    printf '== %s: ./setup.sh %s\n' "$suite" "$what"
    chroot "$root" sh -c "cd /opt/zeroq && ./setup.sh $what"
done
printf '== %s: both passed\n' "$suite"
