# What the parts of tests/all share: speaking, becoming root, installing. Sourced, never run.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Debian keeps administrators' programs here; an ordinary user's PATH often lacks it.
PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*" >&2; }
die() { say "tests: $*"; exit 1; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
as_user() {
    local user=$1
    shift
    # From /, because the account may not read the directory that the tests run in.
    if [ "$(id -u)" = 0 ]; then (cd / && runuser -u "$user" -- "$@"); else (cd / && sudo -u "$user" "$@"); fi
}

has_systemd() { [ -d /run/systemd/system ]; }
random_hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# Writes one `export` line for the tests into the run's file of variables.
give() { (umask 077 && printf 'export %s=%q\n' "$2" "$3" >>"$1/env"); }

# Installs those of the named Debian packages that are missing.
need_packages() {
    local package missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get >/dev/null || die "please install: ${missing[*]} (this is no Debian: no apt-get)"
    apt update
    without_starting_services apt install --no-install-recommends "${missing[@]}"
}

apt() {
    local verb=$1
    shift
    # Another package run is waited for, rather than an error.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$verb" "$@"
}

# Packages must not start daemons on their own: a system Postfix is not wanted at all, and a broker
# started by its package fails where the host name does not resolve. The parts start what they need.
without_starting_services() {
    local policy=/usr/sbin/policy-rc.d result=0
    if [ -e "$policy" ]; then "$@"; return; fi
    printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin "$policy"
    "$@" || result=$?
    as_root rm -f "$policy"
    return $result
}

# Waits up to SECONDS for a command to succeed.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
