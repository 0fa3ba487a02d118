#!/usr/bin/env bash
# How fast does the service acknowledge over HTTP, beside a bare warp server?
#
#   benches/http.sh [ROUNDS [SECONDS [CONNECTIONS]]]      default: 3 rounds of 20 s (at least 7), 128 connections
#
# In each round, in turn: the bare server, the service without Kafka, the service with Kafka
# (a mock in another process). Prints each run, the ratios round by round, and the memory of the
# service after 5 s and at the end. Exits 1 when any answer was not 200.
# Needs wrk and curl. Only ratios of one run mean anything: the machine's speed drifts.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3} seconds=${2:-20} connections=${3:-128}
for number in "$rounds" "$seconds" "$connections"; do
  case $number in '' | 0* | *[!0-9]*)
    echo "usage: $0 [ROUNDS [SECONDS [CONNECTIONS]]], whole numbers from 1 on; \"$number\" is none" >&2
    exit 64 ;;
  esac
done
# The memory is read after 5 s and one second before the end.
if [ "$seconds" -lt 7 ]; then
  echo "$seconds seconds are too few to compare the memory after 5 s with that at the end; 7 are the least" >&2
  exit 64
fi
for tool in wrk curl; do
  command -v "$tool" >/dev/null || { echo "needs $tool: apt-get install $tool" >&2; exit 69; }
done

cargo build --release --quiet --bin waystation --example bare_warp --example mock_kafka
bin=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
started=()
# shellcheck disable=SC2317 # called by the trap
finish() {
  for pid in ${started[@]+"${started[@]}"}; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

rss() { awk '/^VmRSS/ {print $2}' "/proc/$1/status"; }
peak() { awk '/^VmHWM/ {print $2}' "/proc/$1/status"; }

# load ADDRESS [PID]: one run of wrk; sets requests_per_second, bad, and with PID first and last RSS.
load() {
  wrk -t1 "-c$connections" "-d${seconds}s" -s benches/post.lua "http://$1/endpoint" >"$work/wrk" &
  local wrk=$!
  first=0 last=0
  if [ -n "${2-}" ]; then
    sleep 5
    first=$(rss "$2")
    sleep $((seconds - 6))
    last=$(rss "$2")
  fi
  wait "$wrk"
  local result
  result=$(grep '^result ' "$work/wrk") || { cat "$work/wrk" >&2; exit 1; }
  read -r _ _ requests_per_second errors broken p50 p99 <<<"$result"
  bad=$((errors + broken))
  [ "$bad" = 0 ] || failed=1
}

# service NAME KAFKA: starts the service on a fresh spool, loads it, stops it.
service() {
  local dir=$work/$1 pid
  mkdir -p "$dir"
  {
    printf '[box]\nname = "bench"\n[ingest]\nlisten = "127.0.0.1:18099"\n'
    printf '[spool]\ndir = "%s/spool"\nmax_size = "20GiB"\nmin_free = "0"\n' "$dir"
    printf '[admin]\nlisten = "127.0.0.1:18098"\n'
    [ -z "$2" ] || printf '[kafka]\nbootstrap.servers = "%s"\n' "$2"
  } >"$dir/waystation.toml"
  "$bin/waystation" --config "$dir/waystation.toml" run 2>"$dir/log" &
  pid=$!
  started+=("$pid")
  local ready=''
  for _ in $(seq 100); do
    if curl -fs -o "$work/ready" http://127.0.0.1:18098/readyz; then ready=yes; break; fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  if [ -z "$ready" ]; then
    echo "the service was not ready within 10 s; it said:" >&2
    cat "$dir/log" >&2
    exit 70
  fi
  load 127.0.0.1:18099 "$pid"
  high=$(peak "$pid")
  kill "$pid"
  wait "$pid"
  started=("${started[@]/$pid/}")
  rm -rf "$dir"
}

row() { printf '%-7s %-20s %9s/s  p50 %6s ms  p99 %6s ms  not 200: %-4s %s\n' "$@"; }
memory() {
  awk -v a="$first" -v b="$last" -v h="$high" 'BEGIN {
    printf "RSS %.1f MB after 5 s, %.1f MB at the end (%+.1f %%), highest %.1f MB", a/1024, b/1024, (b/a-1)*100, h/1024 }'
}

# Both print their address and stay while their standard input is open: it is ours.
mkfifo "$work/hold"
exec 9<>"$work/hold"
aside() { # NAME: starts the example, sets address
  "$bin/examples/$1" <"$work/hold" >"$work/$1" 2>"$work/$1.log" 9>&- &
  started+=("$!")
  for _ in $(seq 100); do
    # A whole line, or there is no address yet.
    if read -r address 2>/dev/null <"$work/$1"; then return; fi
    kill -0 "$!" 2>/dev/null || break
    sleep 0.1
  done
  echo "the example $1 did not print its address within 10 s; it said:" >&2
  cat "$work/$1.log" >&2
  exit 70
}
aside bare_warp
bare_address=$address
aside mock_kafka
kafka_address=$address

failed=0 without=() with=()
for round in $(seq "$rounds"); do
  load "$bare_address"
  row "round $round" "bare warp" "$requests_per_second" "$p50" "$p99" "$bad" ""
  yardstick=$requests_per_second
  service away ""
  row "" "without Kafka" "$requests_per_second" "$p50" "$p99" "$bad" "$(memory)"
  without+=("$(awk -v a="$requests_per_second" -v b="$yardstick" 'BEGIN {printf "%.3f", a/b}')")
  service there "$kafka_address"
  row "" "with Kafka" "$requests_per_second" "$p50" "$p99" "$bad" "$(memory)"
  with+=("$(awk -v a="$requests_per_second" -v b="$yardstick" 'BEGIN {printf "%.3f", a/b}')")
done
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }
echo "ratio to bare warp, without Kafka: ${without[*]}; median $(median "${without[@]}")"
echo "ratio to bare warp, with Kafka:    ${with[*]}; median $(median "${with[@]}")"
exit "$failed"
