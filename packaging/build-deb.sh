#!/usr/bin/env bash
#
# Builds the Debian package of this machine's architecture (amd64) and release.
# The last line of the output is the package's path.
#
#   ./packaging/build-deb.sh
#
# What goes into the package is written in Cargo.toml, under [package.metadata.deb].
set -euo pipefail
# shellcheck source=packaging/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CARGO_DEB_VERSION=3.8.0

cargo_deb="$ROOT/target/tools/bin/cargo-deb"

cargo_deb_is_there() { [ "$("$cargo_deb" --version 2>/dev/null)" = "cargo-deb $CARGO_DEB_VERSION" ]; }

require_rust build
# dpkg-dev has dpkg-shlibdeps, which finds the packages of the shared libraries.
mapfile -t missing < <(missing_packages "${BUILD_PACKAGES[@]}" dpkg-dev:dpkg-shlibdeps)
extra=''
if ! cargo_deb_is_there; then
    extra="cargo-deb $CARGO_DEB_VERSION: about 15 MB of crates to download, built into target/tools in about 2 minutes"
fi
prepare 'The Debian package' "$(build_time release 5)" "$extra" "${missing[@]}"

if ! cargo_deb_is_there; then
    cargo install --locked --root "$ROOT/target/tools" --force --version "$CARGO_DEB_VERSION" cargo-deb
fi

cd "$ROOT"
cargo build --target-dir "$ROOT/target" --release --locked --bin waystation
"$cargo_deb" --no-build --locked
