#!/usr/bin/env bash
#
# Packs the inputs under work/ into corpus/, or unpacks them: one archive a target.
#
#   ./pack.sh in | out
#
# Unpacked they lie where `cargo fuzz` can add to them; packed they are what the gate replays.
# The same inputs make the same archive.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
case ${1:-} in
out)
    for archive in corpus/*.tar.zst; do
        name=$(basename "$archive" .tar.zst)
        mkdir -p "work/$name"
        zstd -qdc "$archive" | tar -xf - -C "work/$name"
    done
    ;;
in)
    for dir in work/*/; do
        name=$(basename "$dir")
        (cd "$dir" && find . -type f -printf '%P\0' | LC_ALL=C sort -z |
            tar --null -T - --owner=0 --group=0 --mtime=@0 --mode=644 -cf -) | zstd -q -19 -f -o "corpus/$name.tar.zst"
    done
    ;;
*)
    sed -n '3,8s/^# \{0,1\}//p' "$0" >&2
    exit 64
    ;;
esac
