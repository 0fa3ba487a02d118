#!/usr/bin/env bash
#
# Fetches Apache Kafka from Maven Central for the tests in this directory, once:
#
#   tests/kafka/fetch.sh [VERSION]
#
# into target/kafka/VERSION/. Needs Maven and a JDK of Java 17 or later.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=${1:-4.1.1}
to=$(cd "$here/../.." && pwd)/target/kafka/$version

if [ -d "$to" ]; then exit 0; fi
mkdir -p "$(dirname "$to")"
# Moved to its place whole: what was interrupted is begun again.
part=$(mktemp -d "$to.XXXXXX")
trap 'rm -rf "$part"' EXIT
mvn --quiet --batch-mode --file "$here/pom.xml" -Dkafka="$version" \
    dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$part"
chmod 755 "$part"
mv "$part" "$to"
