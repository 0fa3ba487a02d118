#!/usr/bin/env bash
#
# The one gate: formatting, lints, shell scripts, every test, the documentation, and the
# Debian package on a clean machine. What CI runs is what a contributor runs.
#
#   ./tests/run.sh
#
# All of it in the release profile: what is tested is what the package holds, and is built once.
#
# Installs what is missing (it says so first), goes on after a failure, and ends with
# `N passed, N failed`: each test counts as one, and so does each check outside cargo.
# Without root it leaves out what needs root and names it; with CI=true nothing may be left
# out.
set -euo pipefail
# shellcheck source=packaging/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../packaging/lib.sh"
cd "$ROOT"

logs=$ROOT/target/gate
mkdir -p "$logs"

passed=0
failed=0
durations=()
left_out=()
why=''
on_ci() { [ "${CI:-}" = true ]; }

leave_out() { left_out+=("$1"); }

# step NAME COMMAND...: runs one check that counts as one.
step() {
    local name=$1 start=$SECONDS outcome=ok
    shift
    say "=== $name"
    if "$@"; then
        passed=$((passed + 1))
    else
        outcome=FAILED
        failed=$((failed + 1))
    fi
    note_duration "$name" "$start" "$outcome"
    [ "$outcome" = ok ]
}

note_duration() {
    local line
    line=$(printf '%-34s %4d s   %s' "$1" $((SECONDS - $2)) "$3")
    durations+=("$line")
    say "--- $line"
}

# ------------------------------------------------------------------------- what is needed

# Without these there is no gate at all; without the others a part of it can be left out.
require_rust build fmt clippy
mapfile -t missing < <(missing_packages "${BUILD_PACKAGES[@]}")
mapfile -t missing_for_checks < <(missing_packages \
    shellcheck:shellcheck curl:curl debootstrap:debootstrap systemd-container:systemd-nspawn dpkg-dev:dpkg-shlibdeps)
mapfile -t missing_for_kafka < <(missing_packages \
    default-jre-headless:java maven:mvn openssl:openssl krb5-kdc:krb5kdc krb5-admin-server:kadmin.local \
    libsasl2-modules-gssapi-mit)

if can_be_root; then
    missing+=("${missing_for_checks[@]}" "${missing_for_kafka[@]}")
    missing_for_kafka=()
fi
extra=''
if ! [ -x target/tools/bin/cargo-deb ]; then extra="cargo-deb and its crates: about 15 MB to download, built into target/tools"; fi
if can_be_root && ! compgen -G 'target/deb-test/*.tar' >/dev/null; then
    extra="${extra:+$extra; }a clean root to try the package in: about 60 MB to download, kept under target/deb-test"
fi
if ! compgen -G 'target/kafka/*/' >/dev/null; then
    extra="${extra:+$extra; }Apache Kafka and what Maven needs to fetch it: about 100 MB to download, kept under target/kafka"
fi
if [ -x target/release/waystation ]; then
    time='It takes about 16 minutes on 2 cores, most of it the tests.'
else
    time='The first run takes about 25 minutes on 2 cores, more than a third of it compiling; later ones about 16.'
fi
prepare 'The gate' "$time" "$extra" "${missing[@]}"

# ------------------------------------------------------------------------------ the checks

formatting() { cargo fmt --check; }

lints() { cargo clippy --release --locked --all-targets -- -D warnings; }

documentation() {
    cargo test --release --locked --doc --quiet
    RUSTDOCFLAGS='-D warnings' cargo doc --release --locked --no-deps --document-private-items
}

shell_scripts() {
    local file first scripts=(packaging/lib.sh)
    while read -r file; do
        # In a file that is no text the first line may be anything.
        first=$(head -c 64 "$file" | head -n 1 | tr -d '\0')
        case $first in '#!'*sh) scripts+=("$file") ;; esac
    done < <(find .ci packaging tests benches fuzz/pack.sh -type f 2>/dev/null)
    shellcheck -x "${scripts[@]}"
}

apache_kafka() { tests/kafka/fetch.sh; }

# What is written for Java 17 would fail in every test, with a message of Java's own.
java_is_enough() {
    local version
    version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
    [ "${version:-0}" -ge 17 ]
}

build_tests() { cargo test --release --locked --no-run; }

# The tests that a log tells to be slow, and of which it knows no end.
unfinished() {
    awk '/^test .* has been running for over/ { slow[$2] } /^test .* \.\.\. / { delete slow[$2] }
        END { for (name in slow) print "  " name }' "$1"
}

# How many tests a log of cargo test reports as: passed | failed | ignored.
count() { awk -v word="$1" '/^test result:/ { for (i = 2; i <= NF; i++) if ($i ~ "^" word) n += $(i - 1) } END { print n + 0 }' "$2"; }

# Twice as long as the tests take on 2 cores: what waits for ever is ended, and named.
LONGEST=1000

# cargo_tests LOG THREADS ARGUMENTS...: tests of cargo, so many at a time, with the log of all that they say.
cargo_tests() {
    local log=$1 threads=$2 code=0
    shift 2
    # --show-output: a test that leaves something out says so in a line `skipped: why`,
    # which would be lost otherwise. On the terminal only one line a test is wanted.
    set +e
    timeout --kill-after=10 "$LONGEST" cargo test --release --locked --no-fail-fast "$@" \
        -- --show-output --test-threads "$threads" 2>&1 | tee "$log" |
        grep --line-buffered -E '^(test |running |     Running |   Doc-tests )'
    code=${PIPESTATUS[0]}
    set -e
    return "$code"
}

# What each failed test of a log said when it gave up, in a few lines: what else it printed, the
# service's own log for one, can be thousands of them.
reasons() {
    awk '
        /^test .* \.\.\. FAILED/ { failed[$2]; next }
        /^---- .* stdout ----$/ { test = $2; lines = 0; next }
        # By the test itself, or by a thread that it began.
        /^thread .* panicked at / {
            lines = test in failed && (index($0, "\047" test "\047") || / panicked at tests\//) ? 12 : 0
            if (lines) print "  " test
        }
        /^(note: |stack backtrace:|failures:$|test result:)/ { lines = 0 }
        lines && lines-- { print "    " substr($0, 1, 300); told[test] }
        END { for (test in failed) if (!(test in told)) print "  " test ": without a panic of its own" }
    ' "$1"
}

# judge NAME LOG CODE START: counts each of the tests by itself.
judge() {
    local log=$2 code=$3 outcome=ok tests_failed ignored
    tests_failed=$(count failed "$log")
    ignored=$(count ignored "$log")
    passed=$((passed + $(count passed "$log")))
    failed=$((failed + tests_failed))
    if [ "$code" -eq 124 ] || [ "$code" -eq 137 ]; then
        failed=$((failed + 1))
        say "The $1 were ended after $LONGEST s. Under way were, of those that had taken over 60 s:"
        unfinished "$log"
    elif [ "$code" -ne 0 ] && [ "$tests_failed" -eq 0 ]; then
        # A test program that did not live to report its result.
        failed=$((failed + 1))
    fi
    if [ "$code" -ne 0 ]; then
        outcome=FAILED
        # Without what those said that held.
        awk '/^successes:$/ { quiet = 1 } /^(failures:$|test result:)/ { quiet = 0 } !quiet && !/^test .* ok$/' "$log"
        why+=$(reasons "$log")$'\n'
    fi
    if [ "$ignored" -gt 0 ]; then leave_out "$ignored tests that are marked as ignored"; fi
    while read -r line; do leave_out "by a test: $line"; done < <(sed -n 's/^skipped: //p' "$log")
    note_duration "$1" "$4" "$outcome"
}

# All tests but those of tests/kafka. Most wait for half of their time: twice as many as there are cores.
tests() {
    local start=$SECONDS code=0 file name targets=(--lib --bins --examples)
    say '=== tests'
    for file in tests/*.rs tests/*/main.rs; do
        name=${file%/main.rs}
        name=$(basename "$name" .rs)
        if [ "$name" != kafka ]; then targets+=(--test "$name"); fi
    done
    cargo_tests "$logs/tests.log" $((2 * $(nproc))) "${targets[@]}" || code=$?
    judge tests "$logs/tests.log" "$code" "$start"
}

# As many brokers at a time as there are cores, and one that just waits.
begin_kafka() {
    kafka_start=$SECONDS
    cargo_tests "$logs/kafka.log" $(($(nproc) + 1)) --test kafka >"$logs/kafka-lines.log" &
    kafka=$!
}

end_kafka() {
    local code=0
    wait "$kafka" || code=$?
    say '=== tests with a real Kafka, begun before'
    cat "$logs/kafka-lines.log"
    judge 'tests with a real Kafka' "$logs/kafka.log" "$code" "$kafka_start"
}

# Two minutes of what `benches/outage.sh` does for thirty: mostly waiting, beside Kafka's tests.
begin_outage() {
    as_root env "PATH=$PATH" benches/outage.sh 2 >"$logs/outage.log" 2>&1 &
    outage=$!
}

end_outage() {
    local code=0
    wait "$outage" || code=$?
    cat "$logs/outage.log"
    return "$code"
}

# Beside the tests, at the lowest priority: what is to be compiled is the packager alone.
begin_package() {
    nice -n 19 packaging/build-deb.sh >"$logs/build-deb.log" 2>&1 &
    package=$!
}

end_package() {
    local code=0
    wait "$package" || code=$?
    cat "$logs/build-deb.log"
    return "$code"
}

package_on_a_clean_machine() { as_root tests/deb.sh "$(tail -n 1 "$logs/build-deb.log")"; }

step 'formatting' formatting || true
if command -v shellcheck >/dev/null; then
    step 'shell scripts' shell_scripts || true
else
    leave_out 'shell scripts: shellcheck is not installed'
fi
step 'lints' lints || true
# Without it the tests that need it say that they were left out.
if [ ${#missing_for_kafka[@]} -gt 0 ]; then
    leave_out "the tests with a real Kafka: not installed: ${missing_for_kafka[*]}"
elif ! java_is_enough; then
    leave_out 'the tests with a real Kafka: they need Java 17 or later'
else
    step 'Apache Kafka for the tests' apache_kafka || true
fi
kafka=''
package=''
tests_built=''
if step 'building the tests' build_tests; then
    tests_built=yes
    if command -v dpkg-shlibdeps >/dev/null; then begin_package; fi
    tests
fi
step 'documentation' documentation || true
if [ -n "$tests_built" ]; then begin_kafka; fi
outage=''
if can_be_root; then
    begin_outage
else
    leave_out 'an outage in 64 MB: limiting the memory of a process needs root'
fi
if ! command -v dpkg-shlibdeps >/dev/null; then
    leave_out 'building the Debian package and trying it on a clean machine: dpkg-dev is not installed'
elif [ -z "$package" ]; then
    say 'The package was not built, since the tests could not be.'
elif ! step 'building the Debian package, begun before' end_package; then
    say 'The package could not be built, so it could not be tried.'
elif ! can_be_root; then
    leave_out 'the Debian package on a clean machine: booting one needs root'
else
    step 'the Debian package on a clean machine' package_on_a_clean_machine || true
fi
if [ -n "$outage" ]; then
    step 'an outage in 64 MB, begun before' end_outage || true
fi
if [ -n "$kafka" ]; then end_kafka; fi

# ----------------------------------------------------------------------------- the verdict

say
say 'How long each step took:'
printf '  %s\n' "${durations[@]}"
printf '  %-34s %4d s\n' 'in all' "$SECONDS"
if [ ${#left_out[@]} -gt 0 ]; then
    say
    say '*** LEFT OUT:'
    printf '***   %s\n' "${left_out[@]}"
    if on_ci; then
        say '*** On CI nothing may be left out.'
        failed=$((failed + ${#left_out[@]}))
    fi
fi
if [ -n "${why//[[:space:]]/}" ]; then
    say
    say 'Why tests failed (all that they said is above):'
    printf '%s' "$why"
fi
say
say "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
