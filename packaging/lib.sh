# shellcheck shell=bash
#
# What demo.sh, build-deb.sh and tests/run.sh share: is everything there that a build
# needs, and if not, may it be installed?
#
# Nothing is installed that was not announced first, and no service of an installed package
# is ever started. This file deliberately does not know what is built or tested.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# sysexits: a thing that this cannot go on without is missing.
EX_UNAVAILABLE=69

# shellcheck disable=SC2034 # for those who source this
#
# One entry a package: its name in Debian and Ubuntu, and the command that shows that it is
# there (a machine may have the command from elsewhere); without a command, dpkg is asked.
BUILD_PACKAGES=(
    gcc:gcc g++:g++ make:make pkg-config:pkg-config ca-certificates
    libssl-dev libsasl2-dev zlib1g-dev libzstd-dev
)

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }

# Where rustup puts cargo, whether or not the shell knows of it yet.
CARGO_BIN=${CARGO_HOME:-${HOME:-/root}/.cargo}/bin

PATH="$PATH:/usr/sbin:/sbin:$CARGO_BIN"

is_root() { [ "$(id -u)" -eq 0 ]; }

# Whether as_root can work: without a terminal sudo must not ask for a password.
can_be_root() {
    is_root && return 0
    command -v sudo >/dev/null || return 1
    if [ -t 0 ]; then return 0; fi
    sudo -n true 2>/dev/null
}

as_root() {
    if is_root; then "$@"; else sudo "$@"; fi
}

# missing_packages ENTRY...: the names of those that are not there, one a line.
missing_packages() {
    local entry package command
    for entry in "$@"; do
        package=${entry%%:*}
        command=${entry#"$package"}
        command=${command#:}
        if [ -n "$command" ] && command -v "$command" >/dev/null; then continue; fi
        if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
            printf '%s\n' "$package"
        fi
    done
}

# download_size PACKAGE...: what apt would fetch, in words.
download_size() {
    local uris
    if uris=$(apt-get install --print-uris -qq -y --no-install-recommends "$@" 2>/dev/null); then
        awk '{ bytes += $3; n++ } END { printf "%d with what they need, %d MB to download", n, (bytes + 999999) / 1000000 }' <<<"$uris"
    else
        printf 'about 100 MB to download (apt has no lists yet to tell it exactly)'
    fi
}

# Whether the crates of Cargo.lock still have to be downloaded.
crates_missing() {
    ! (cd "$ROOT" && cargo fetch --quiet --locked --offline --target "$(host_triple)" 2>/dev/null)
}

host_triple() { (cd "$ROOT" && rustc -vV | sed -n 's/^host: //p'); }

# confirm: asks on a terminal, goes on elsewhere.
confirm() {
    local answer
    if ! [ -t 0 ] || ! [ -t 1 ]; then return 0; fi
    read -r -p 'Go on? [Y/n] ' answer
    case $answer in
    '' | [yY]*) return 0 ;;
    *)
        warn 'Nothing was installed.'
        exit 1
        ;;
    esac
}

# ---------------------------------------------------------------------------------- Rust

# The oldest version that Cargo.toml allows.
rust_wanted() { sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$ROOT/Cargo.toml"; }

# The release that rust-toolchain.toml pins; where rustup is used, exactly this is needed.
rust_pinned() { sed -n 's/^channel *= *"\(.*\)"/\1/p' "$ROOT/rust-toolchain.toml"; }

# The version of the cargo that PATH finds; empty when there is none that runs.
# rustup is kept from downloading a toolchain before that was announced.
rust_found() {
    (cd "$ROOT" && RUSTUP_AUTO_INSTALL=0 cargo --version 2>/dev/null | awk '{ print $2 }') || true
}

rust_is_enough() {
    local found
    found=$(rust_found)
    [ -n "$found" ] && [ "$(printf '%s\n' "$(rust_wanted)" "$found" | sort -V | head -n 1)" = "$(rust_wanted)" ]
}

# require_rust SUBCOMMAND...: returns when cargo is new enough and has the subcommands (build,
# clippy, fmt); otherwise prints the exact command that installs them and exits 69.
require_rust() {
    local component found need=''
    # The distribution's cargo may hide a newer one of rustup.
    if ! rust_is_enough && [ -x "$CARGO_BIN/cargo" ]; then PATH="$CARGO_BIN:$PATH"; fi
    if rust_is_enough; then
        for component in "$@"; do
            (cd "$ROOT" && RUSTUP_AUTO_INSTALL=0 cargo "$component" --help >/dev/null 2>&1) || need="$need $component"
        done
        if [ -z "$need" ]; then return 0; fi
        warn "The Rust on this machine ($(command -v cargo)) lacks:$need."
    else
        found=$(rust_found)
        warn "Waystation needs Rust $(rust_wanted) or newer; this machine has ${found:-none that it could use}."
    fi
    warn 'This command installs it for this user, without root (about 120 MB to download, one to two minutes):'
    warn
    if command -v rustup >/dev/null; then
        warn "    rustup toolchain install $(rust_pinned) --profile minimal --component rustfmt --component clippy"
    else
        local curl=''
        if ! command -v curl >/dev/null; then
            curl='apt-get update && apt-get install -y --no-install-recommends curl ca-certificates && '
            if ! is_root; then curl=${curl//apt-get/sudo apt-get}; fi
        fi
        warn "    ${curl}curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain $(rust_pinned) --component rustfmt --component clippy"
    fi
    warn
    warn 'Then start this again; no new shell is needed.'
    exit "$EX_UNAVAILABLE"
}

# ------------------------------------------------------------------------------ packages

POLICY=/usr/sbin/policy-rc.d
POLICY_KEPT=$POLICY.kept-by-waystation
POLICY_MARK='# Written by Waystation for the length of one installation.'

# Until allow_services, no package may start a service (Debian policy 9.3.3.1: exit 101).
forbid_services() {
    # What an earlier run left behind that was killed.
    allow_services
    trap allow_services EXIT
    if as_root test -e "$POLICY"; then as_root mv "$POLICY" "$POLICY_KEPT"; fi
    printf '#!/bin/sh\n%s\nexit 101\n' "$POLICY_MARK" | as_root tee "$POLICY" >/dev/null
    as_root chmod 755 "$POLICY"
}

# Puts things back as they were. Does nothing when forbid_services was not called.
allow_services() {
    if grep -qsF "$POLICY_MARK" "$POLICY"; then as_root rm -f "$POLICY"; fi
    if [ -e "$POLICY_KEPT" ]; then as_root mv "$POLICY_KEPT" "$POLICY"; fi
    trap - EXIT
}

# install_packages PACKAGE...: with apt, asking nothing, starting nothing.
install_packages() {
    # needrestart (on Ubuntu) would restart services of its own accord.
    local apt=(env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -o Dpkg::Use-Pty=0)
    forbid_services
    say 'Installing.'
    # A third party's list that cannot be had is no reason to stop: the installation is
    # what must succeed.
    if ! as_root "${apt[@]}" -qq update; then warn 'Some lists of packages could not be refreshed.'; fi
    as_root "${apt[@]}" -qq install -y --no-install-recommends "$@" >/dev/null
    allow_services
}

# The command that somebody with root can give, for messages.
install_command() { printf 'apt-get install -y --no-install-recommends %s' "$*"; }

# prepare WHAT TIME EXTRA PACKAGE...: says what WHAT lacks, how much is downloaded (EXTRA:
# a line on downloads besides, or empty) and how long it takes, asks, and installs PACKAGEs.
prepare() {
    local what=$1 time=$2 extra=$3 crates=''
    shift 3
    if crates_missing; then crates=yes; fi
    if [ $# -eq 0 ] && [ -z "$crates$extra" ]; then
        say "$what: everything needed is there. $time"
        return
    fi
    say "$what needs what this machine lacks:"
    if [ $# -gt 0 ]; then say "  packages (apt): $* ($(download_size "$@")); none of their services is started"; fi
    if [ -n "$crates" ]; then say '  Rust crates: about 26 MB to download, kept in the cargo cache'; fi
    if [ -n "$extra" ]; then say "  $extra"; fi
    say "$time"
    if [ $# -gt 0 ] && ! command -v apt-get >/dev/null; then
        warn "This sets up Debian and Ubuntu; elsewhere install the equivalents of: $*"
        exit "$EX_UNAVAILABLE"
    fi
    if [ $# -gt 0 ] && ! can_be_root; then
        warn 'Packages can be installed only by root, and sudo is not at hand. Somebody who is root can give:'
        warn "    $(install_command "$@")"
        exit "$EX_UNAVAILABLE"
    fi
    confirm
    if [ $# -gt 0 ]; then install_packages "$@"; fi
}

# build_time PROFILE MINUTES: how long the build will take, in words.
build_time() {
    if [ -x "$ROOT/target/$1/waystation" ]; then
        say 'The build takes up to two minutes (only Waystation itself, when it changed).'
    else
        say "The first build takes about $2 minutes on 2 cores."
    fi
}
