#!/usr/bin/env bash
#
# Does the Debian package make a service that keeps its promise on a clean machine?
#
#   tests/deb.sh PACKAGE.deb        (as root)
#
# Builds a clean root of this machine's own release (the package was built against its
# libraries) from the mirror that this machine's apt uses, boots it with the real systemd in
# a network of its own, and runs tests/deb-inside.sh there. The root is kept as an archive
# under target/, so that a second run needs no network. Ends only what it started.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$(dirname "$here")/target/deb-test
# The longest that the machine may run, in seconds.
limit=420

if [ $# -ne 1 ] || ! [ -f "$1" ]; then
    echo "usage: $0 PACKAGE.deb" >&2
    exit 64
fi
package=$(realpath "$1")
if [ "$(id -u)" -ne 0 ]; then
    echo "$0: booting a machine needs root" >&2
    exit 77
fi

# shellcheck source=/dev/null
codename=$(source /etc/os-release && echo "$VERSION_CODENAME")
base=$cache/$codename.tar
archives=$cache/archives
mkdir -p "$archives"

# Not under target/: that may be on a file system without owners or device files.
work=$(mktemp -d "${TMPDIR:-/var/tmp}/waystation-deb.XXXXXX")
root=$work/root
machine=''

# The process must be ended before its root is removed.
end_machine() {
    if [ -z "$machine" ]; then return 0; fi
    kill "$machine" 2>/dev/null || true
    for _ in $(seq 50); do
        if ! kill -0 "$machine" 2>/dev/null; then
            machine=''
            return 0
        fi
        sleep 0.2
    done
    kill -9 "$machine" 2>/dev/null || true
    machine=''
}

clean_up() {
    end_machine
    # Kept for whoever started this with sudo: a file of root under target/ is in the way.
    if [ -n "${SUDO_UID:-}" ]; then chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$cache"; fi
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The archive of this release that apt is configured to use here.
mirror() {
    # shellcheck disable=SC2016 # these are apt's own variables
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' |
        awk -v release="$codename" '$2 == release && $3 == "main" && $1 ~ /^(https?|file):/ { print $1; exit }'
}

# apt's own proxy, which debootstrap does not know of.
proxy=$(apt-config shell proxy Acquire::http::Proxy)
if [ -n "$proxy" ]; then
    eval "$proxy"
    export http_proxy="${http_proxy:-$proxy}"
fi

in_root() { chroot "$root" env DEBIAN_FRONTEND=noninteractive "$@"; }

make_base() {
    local from
    from=$(mirror)
    if [ -z "$from" ]; then
        echo "apt on this machine has no http, https or file source for '$codename main' to build a clean root from" >&2
        return 1
    fi
    echo "Building a clean $codename root from $from (about 60 MB, one to two minutes; kept in $base)."
    debootstrap --variant=minbase --include=systemd,systemd-sysv "$codename" "$root" "$from" >"$work/debootstrap.log" 2>&1 || {
        tail -n 20 "$work/debootstrap.log" >&2
        return 1
    }
    in_root apt-get -qq update
    in_root apt-get clean
    tar -C "$root" --one-file-system --numeric-owner -cf "$base.part" .
    mv "$base.part" "$base"
}

# Fetches what the package depends on, while there still is a network.
fetch_dependencies() {
    find "$archives" -name '*.deb' -exec cp -t "$root/var/cache/apt/archives" {} +
    # The kept lists may be older than what the mirror still has.
    in_root apt-get -qq install -y --download-only /waystation.deb ||
        { in_root apt-get -qq update && in_root apt-get -qq install -y --download-only /waystation.deb; }
    find "$root/var/cache/apt/archives" -name '*.deb' -exec cp -u -t "$archives" {} +
}

if [ -f "$base" ]; then
    mkdir "$root"
    tar -C "$root" --numeric-owner -xf "$base"
else
    make_base
fi
cp "$package" "$root/waystation.deb"
fetch_dependencies

install -m 755 "$here/deb-inside.sh" "$root/usr/local/sbin/deb-inside"
# The machine turns itself off when the script is through, whether it succeeded or not.
cat >"$root/etc/systemd/system/deb-inside.service" <<'UNIT'
[Unit]
After=multi-user.target
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/deb-inside
StandardOutput=file:/deb-inside.log
StandardError=file:/deb-inside.log
TimeoutStartSec=360
UNIT
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../deb-inside.service "$root/etc/systemd/system/multi-user.target.wants/"

echo "Booting it."
systemd-nspawn --quiet --boot --register=no --keep-unit --private-network \
    --machine="waystation-deb-$$" --directory="$root" </dev/null >"$work/console.log" 2>&1 &
machine=$!
for ((second = 0; second < limit; second++)); do
    if ! kill -0 "$machine" 2>/dev/null; then break; fi
    sleep 1
done
if kill -0 "$machine" 2>/dev/null; then
    echo "The machine did not turn itself off within $limit s." >&2
    end_machine
fi
machine=''

if [ -f "$root/deb-inside.log" ]; then
    cat "$root/deb-inside.log"
else
    echo 'It did not come as far as the test; the end of its console:' >&2
    tail -n 30 "$work/console.log" >&2
fi
if ! [ -f "$root/deb-inside.passed" ]; then
    echo 'The package did not pass.' >&2
    exit 1
fi
