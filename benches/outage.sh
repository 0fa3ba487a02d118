#!/usr/bin/env bash
# Does an outage of Kafka fit into 64 MB of memory, and is nothing lost by it?
#
#   benches/outage.sh [MINUTES [RATE [MEMORY]]]      default: 30 minutes, 1000 records/s, 64 (MiB)
#
# The whole service, page cache and all, in a memory cgroup of that size, without swap. Kafka (a
# mock in another process) is taken away, RATE records a second come for so many minutes, Kafka
# comes back, everything is drained. Then what was acknowledged is compared, record by record,
# with what a consumer beside that Kafka has read: nothing missing, each vehicle's records in
# order, no id used twice. Prints the memory, the disk and the drain; exits 1 when a sentence at the
# end is not true.
#
# Needs curl and root, for the cgroup: by systemd-run where systemd keeps version 2, in a directory
# of its own elsewhere.
set -euo pipefail
trap 'echo "line $LINENO: $BASH_COMMAND" >&2' ERR
cd "$(dirname "$0")/.."
minutes=${1:-30} rate=${2:-1000} limit=${3:-64}
for number in "$minutes" "$rate" "$limit"; do
  case $number in '' | 0* | *[!0-9]*)
    echo "usage: $0 [MINUTES [RATE [MEMORY]]], whole numbers from 1 on; \"$number\" is none" >&2
    exit 64 ;;
  esac
done
command -v curl >/dev/null || { echo "needs curl: apt-get install curl" >&2; exit 69; }
[ "$(id -u)" -eq 0 ] || { echo "$0: limiting the memory of a process needs root" >&2; exit 77; }

cargo build --locked --quiet --release --bin waystation --example outage_kafka
bin=${CARGO_TARGET_DIR:-target}/release
# Not in the system's place for temporary files, which may be memory.
mkdir -p "${CARGO_TARGET_DIR:-target}/tmp"
work=$(mktemp -d "$(realpath "${CARGO_TARGET_DIR:-target}/tmp")/outage.XXXXXX")
bytes=$((limit << 20))
started=()
group=''

# shellcheck disable=SC2317 # called by the trap
finish() {
  local code=$?
  for pid in ${started[@]+"${started[@]}"}; do kill -9 "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  if [ -n "$group" ] && [ -d "$group" ]; then rmdir "$group" || true; fi
  if [ "$code" -ne 0 ] && [ -f "$work/log" ]; then
    echo "the end of what the service said:" >&2
    tail -n 20 "$work/log" >&2
  fi
  rm -rf "$work"
}
trap finish EXIT

# limited COMMAND...: becomes COMMAND inside the limit. In a subshell only.
limited() {
  case $kind in
  systemd) exec systemd-run --quiet --scope -p "MemoryMax=$bytes" -p MemorySwapMax=0 -- "$@" ;;
  v1 | v2)
    echo "$BASHPID" >"$group/cgroup.procs"
    exec "$@" ;;
  esac
}

# How memory is limited here: sets kind, and group except for systemd, which makes it itself.
choose_limit() {
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    if [ -d /run/systemd/system ]; then
      kind=systemd
      return
    fi
    kind=v2 group=/sys/fs/cgroup/waystation-outage-$$
    # Refused where processes are in the root of the hierarchy: then the next line fails and says so.
    echo +memory >/sys/fs/cgroup/cgroup.subtree_control || true
    mkdir "$group"
    echo "$bytes" >"$group/memory.max"
    [ ! -f "$group/memory.swap.max" ] || echo 0 >"$group/memory.swap.max"
  elif [ -d /sys/fs/cgroup/memory ]; then
    kind=v1 group=/sys/fs/cgroup/memory/waystation-outage-$$
    mkdir "$group"
    echo "$bytes" >"$group/memory.limit_in_bytes"
    # There only where the kernel counts swap; memory and swap together, so no swap is left.
    [ ! -f "$group/memory.memsw.limit_in_bytes" ] || echo "$bytes" >"$group/memory.memsw.limit_in_bytes"
  else
    echo "$0: this machine has no memory cgroup" >&2
    exit 69
  fi
}

# What the cgroup says, while the service lives: the highest use (empty where the kernel does not
# keep it), kills for lack of memory, and how often the limit was met.
read_group() {
  if [ "$kind" = systemd ]; then group=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$service/cgroup"); fi
  if [ "$kind" = v1 ]; then
    group_peak=$(cat "$group/memory.max_usage_in_bytes")
    group_kills=$(awk '$1 == "oom_kill" { print $2 }' "$group/memory.oom_control")
    group_met=$(cat "$group/memory.failcnt")
    [ "$(cat "$group/memory.limit_in_bytes")" -eq "$bytes" ] && grep -qx "$service" "$group/cgroup.procs"
  else
    group_peak=$(cat "$group/memory.peak" 2>/dev/null || true)
    group_kills=$(awk '$1 == "oom_kill" { print $2 }' "$group/memory.events")
    group_met=$(awk '$1 == "max" { print $2 }' "$group/memory.events")
    [ "$(cat "$group/memory.max")" -eq "$bytes" ] && grep -qx "$service" "$group/cgroup.procs"
  fi
  if [ "$kind" = systemd ]; then group=''; fi
}

# A port of the loopback that nobody listens at.
port() {
  local port
  while port=$((15000 + RANDOM % 17000)); do
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "$port"; return; fi
  done
}

status() { curl -fsS --max-time 20 "http://127.0.0.1:$admin/status"; }
# number NAME: the first number of that name in the status on standard input.
number() { grep -oE "\"$1\": *[0-9]+" | sed -n "1s/.*: *//p"; }
alive() { kill -0 "$1" 2>/dev/null; }
mb() { awk -v b="${1:-0}" 'BEGIN { printf "%.1f MB", b / 1e6 }'; }

mkfifo "$work/orders"
exec 9<>"$work/orders"
# Its standard input must end when ours of it does, so it does not have fd 9.
"$bin/examples/outage_kafka" "$work/read" <"$work/orders" >"$work/kafka" 2>"$work/kafka.log" 9>&- &
kafka=$!
started+=("$kafka")
servers=''
for _ in $(seq 300); do
  if read -r servers 2>/dev/null <"$work/kafka"; then break; fi
  alive "$kafka" || break
  sleep 0.1
done
[ -n "$servers" ] || { echo "no Kafka:" >&2; cat "$work/kafka.log" >&2; exit 70; }

choose_limit
ingest=$(port) admin=$(port)
cat >"$work/waystation.toml" <<TOML
[box]
name = "outage"
[ingest]
listen = "127.0.0.1:$ingest"
[spool]
dir = "$work/spool"
max_size = "20GiB"
min_free = "0"
[admin]
listen = "127.0.0.1:$admin"
[kafka]
bootstrap.servers = "$servers"
TOML
(limited "$bin/waystation" --config "$work/waystation.toml" run) 2>"$work/log" 9>&- &
service=$!
started+=("$service")
ready=''
for _ in $(seq 300); do
  if curl -fs -o "$work/ready" "http://127.0.0.1:$admin/readyz"; then ready=yes; break; fi
  alive "$service" || break
  sleep 0.1
done
[ -n "$ready" ] || { echo "the service was not ready within 30 s" >&2; exit 70; }
read_group || { echo "the service is not inside the limit" >&2; exit 70; }

failed=0
# true_that SENTENCE COMMAND...
true_that() {
  local sentence=$1
  shift
  if "$@"; then echo "  ok: $sentence"; else echo "  NOT TRUE: $sentence"; failed=1; fi
}

echo away >&9
echo "Kafka is away; $rate records/s for $minutes min into $(mb "$bytes") ($kind)."
"$bin/waystation" load --url "http://127.0.0.1:$ingest/endpoint" --rate "$rate" --vehicles 2000 \
  --connections 32 --for "${minutes}m" --retry --acked "$work/acked" >"$work/load" 9>&- &
load=$!
started+=("$load")
disk=0
while alive "$load"; do
  alive "$service" || { echo "the service has ended" >&2; exit 1; }
  # What is unlinked while it looks makes du complain.
  now=$({ du -sB1 "$work/spool" 2>/dev/null || true; } | cut -f1)
  if [ "${now:-0}" -gt "$disk" ]; then disk=$now; fi
  sleep 2
done
loaded=0
wait "$load" || loaded=$?
waiting=$(status)
backlog=$(number spooled <<<"$waiting")
acknowledged=$(wc -l <"$work/acked")
read_group || { echo "the service has left the limit" >&2; exit 1; }
echo "Acknowledged $acknowledged; $backlog wait, on $(mb "$disk") of disk."
echo "  memory with all waiting: VmHWM $(awk '/^VmHWM/ { printf "%.1f MB", $2 * 1024 / 1e6 }' "/proc/$service/status")," \
  "cgroup with page cache $(mb "$group_peak") of $(mb "$bytes")"

echo back >&9
since=$SECONDS drained='' left=$backlog
# As long as anything moves.
for ((idle = 0; idle < 120; idle++)); do
  alive "$service" || { echo "the service has ended" >&2; exit 1; }
  now=$(status | number spooled)
  if [ "$now" -eq 0 ]; then drained=yes; break; fi
  if [ "$now" -lt "$left" ]; then left=$now idle=0; fi
  sleep 0.5
done
took=$((SECONDS - since))
# What Kafka has must be read as well: until nothing comes any more.
lines=-1
while now=$(wc -l <"$work/read"); [ "$now" -ne "$lines" ]; do lines=$now; sleep 3; done
for _ in $(seq 60); do
  segments=$(status | number segments)
  if [ "$segments" -le 1 ]; then break; fi
  sleep 0.5
done
last=$(status)
read_group || { echo "the service has left the limit" >&2; exit 1; }
peak=$(awk '/^VmHWM/ { print $2 * 1024 }' "/proc/$service/status")
rest=$({ du -sB1 "$work/spool" 2>/dev/null || true; } | cut -f1)
kill "$service"
stopped=0
wait "$service" || stopped=$?
exec 9>&-
consumer=0
wait "$kafka" || { consumer=$?; cat "$work/kafka.log" >&2; }
started=()

export LC_ALL=C
cut -d, -f1,2 "$work/read" | sort -u >"$work/read.once"
sort -u "$work/acked" >"$work/acked.once"
missing=$(comm -23 "$work/acked.once" "$work/read.once" | wc -l)
distinct=$(wc -l <"$work/read.once")
# Two records with one id, or one record with two; a vehicle's records out of the order of their
# first arrival.
two=$(sort -u "$work/read" | awk -F, '{ if (id[$3]++ || record[$1 "," $2]++) n++ } END { print n + 0 }')
disorder=$(awk -F, '!seen[$1 "," $2]++ { if ($2 + 0 <= high[$1] + 0) n++; high[$1] = $2 } END { print n + 0 }' "$work/read")

echo "Drained in $took s; read $lines, distinct $distinct, repeated $((lines - distinct)), missing $missing."
echo "  memory at the highest: VmHWM $(mb "$peak"), cgroup with page cache $(mb "$group_peak"), met the limit $group_met times, killed $group_kills"
echo "  disk at the highest $(mb "$disk"), at the end $(mb "$rest")"
true_that "every message was acknowledged at the first or a later attempt" [ "$loaded" -eq 0 ]
true_that "at least nine tenths of the rate were acknowledged" [ "$acknowledged" -ge $((minutes * 60 * rate * 9 / 10)) ]
true_that "at least nine tenths of it waited when Kafka came back" [ "$backlog" -ge $((acknowledged * 9 / 10)) ]
true_that "all of it was drained" [ "$drained" = yes ]
true_that "nothing acknowledged is missing" [ "$missing" -eq 0 ]
true_that "the consumer was not overtaken" [ "$consumer" -eq 0 ]
true_that "no id names two records, no record has two" [ "$two" -eq 0 ]
true_that "each vehicle's records came in order" [ "$disorder" -eq 0 ]
true_that "nothing was killed for lack of memory" [ "$group_kills" -eq 0 ]
true_that "the service's own books say that nothing is lost" [ "$(number lost <<<"$last")" -eq 0 ]
true_that "the disk is free again" [ "$rest" -lt 40000000 ]
true_that "the service stopped in order" [ "$stopped" -eq 0 ]
exit "$failed"
