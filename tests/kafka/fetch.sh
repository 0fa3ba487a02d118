#!/usr/bin/env bash
#
# Fetches Apache Kafka from Maven Central for the tests in this directory, once: the one of today
# and the oldest that is supported, into target/kafka/VERSION/.
#
#   tests/kafka/fetch.sh
#
# Needs Maven and Java 17 or later.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$(cd "$here/../.." && pwd)/target/kafka

fetch() { # VERSION POM
    local to=$target/$1 part
    if [ -d "$to" ]; then return; fi
    mkdir -p "$target"
    # Moved to its place whole: what was interrupted is begun again.
    part=$(mktemp -d "$to.XXXXXX")
    # shellcheck disable=SC2064 # the directory of this call
    trap "rm -rf '$part'" EXIT
    mvn --quiet --batch-mode --file "$here/$2" -Dkafka="$1" \
        dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$part"
    chmod 755 "$part"
    mv "$part" "$to"
}

fetch 4.1.1 pom.xml
fetch 0.11.0.3 old.xml
