#!/usr/bin/env bash
#
# The demo on a fresh Debian or Ubuntu machine: installs the build packages that are
# missing, builds, and runs `waystation demo` with the arguments given here.
#
#   ./packaging/demo.sh [--for 60s] [--vehicles N] [--rate N] [--calm]
set -euo pipefail
# shellcheck source=packaging/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

require_rust build
mapfile -t missing < <(missing_packages "${BUILD_PACKAGES[@]}")
prepare 'The demo' "$(build_time release 5)" '' "${missing[@]}"

cargo build --manifest-path "$ROOT/Cargo.toml" --target-dir "$ROOT/target" --release --locked --bin waystation
exec "$ROOT/target/release/waystation" demo "$@"
