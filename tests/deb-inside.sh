#!/usr/bin/env bash
#
# Runs inside the clean machine that deb.sh boots: installs the package, sends one message,
# asks, restarts, removes. Stops at the first sentence that is not true, and then shows
# what the service wrote.
set -Eeuo pipefail

spool=/var/lib/waystation/spool

# A REALTIMEGPS: device_id "bus-7", fix_time 1700000000, latitude 48.2, longitude 16.37.
message='\x0a\x05bus-7\x12\x06\x08\x80\xe2\xcf\xaa\x06\x19\x9a\x99\x99\x99\x99\x19\x48\x40\x21\x1f\x85\xeb\x51\xb8\x5e\x30\x40'
message_length=33

show_service() {
    echo "--- line $1 failed; apt said:"
    cat /apt.log || true
    echo '--- the service:'
    systemctl status --no-pager --full waystation.service || true
    journalctl --no-pager --unit waystation.service --lines 50 || true
}
trap 'show_service $LINENO' ERR

# true_within SECONDS COMMAND...: waits until COMMAND succeeds.
true_within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        if [ "$SECONDS" -ge "$end" ]; then return 1; fi
        sleep 0.2
    done
}

ok() { echo "  ok: $*"; }

# There is no network here: everything that apt needs was fetched before.
apt() { DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 "$@" >>/apt.log 2>&1; }

# gone COMMAND...: COMMAND must fail. (`!` alone would be overlooked by `set -e`.)
gone() { if "$@"; then return 1; fi; }

active() { systemctl is-active --quiet waystation.service; }

# The status line of the answer to one message.
post() {
    local line
    # The request goes out in one write: printf alone would write it line by line.
    # shellcheck disable=SC2059 # the message is written in printf's escapes
    {
        printf 'POST /endpoint HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n'
        printf 'Content-Length: %d\r\nConnection: close\r\n\r\n' "$message_length"
        printf "$message"
    } >/request
    exec 3<>/dev/tcp/127.0.0.1/8080
    cat /request >&3
    read -r -t 20 line <&3
    exec 3>&-
    printf '%s\n' "${line%$'\r'}"
}

# 1 is `attention`: without a Kafka nobody could call this box well.
status() { waystation status "$@" || [ $? -eq 1 ]; }

# What it complains of while the service is still starting is expected here.
one_record_waits() { status --json 2>/dev/null | tr -d ' \n' | grep -q '"spooled":1[,}]'; }
last_stop() { status --json 2>/dev/null | tr -d ' \n' | grep -q "\"last_stop\":\"$1\""; }
started_again() { [ "$(systemctl show --property NRestarts --value waystation.service)" -ge 1 ]; }
# The configuration may be read by root and the service alone.
secret() {
    [ "$(stat -c '%U:%G %a' /etc/waystation/waystation.toml)" = 'root:waystation 640' ]
    [ "$(stat -c '%U:%G %a' /etc/waystation/conf.d)" = 'root:waystation 750' ]
}
segments() { find "$spool" -maxdepth 1 -name 'seg-*' | grep -q .; }

apt install /waystation.deb
ok 'the package and its dependencies are installed'

true_within 60 active
systemctl is-enabled --quiet waystation.service
ok 'the service is active and enabled'

pid=$(systemctl show --property MainPID --value waystation.service)
[ "$(stat -c %U "/proc/$pid")" = waystation ]
[ "$(stat -c %U "$spool")" = waystation ]
ok 'it runs as its own user, which owns the spool'

secret
# The service can read it, or it would not be active; an ordinary user cannot.
as_nobody() { setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; }
gone as_nobody cat /etc/waystation/waystation.toml
refused=$(as_nobody waystation status 2>&1) || [ $? -eq 3 ]
echo "    $refused"
grep -q 'waystation.toml: may not be read by this user' <<<"$refused"
gone grep -q 'os error' <<<"$refused"
ok 'the configuration is for root and the service only, and who may not read it is told so'

# Every relative link of the documents that are installed leads to a file.
cd /usr/share/doc/waystation
links=$(grep -ohE '\]\([a-zA-Z][a-zA-Z0-9_./-]*\)' README.md | tr -d '])(' | sort -u)
[ "$(wc -w <<<"$links")" -ge 4 ]
for link in $links; do test -f "$link"; done
test -f docs/status.md
cd /
ok 'the links of the installed README lead somewhere'

answer=$(post)
echo "    $answer"
[[ $answer == 'HTTP/1.1 200'* ]]
ok 'one message is answered 200'

# The sentence goes up to the first empty line, wrapped.
sentence=$(status)
sentence=${sentence%%$'\n\n'*}
sentence=${sentence//$'\n'/ }
echo "    $sentence"
grep -qi 'no kafka is configured' <<<"$sentence"
grep -qiE '\b(one|1) record waits' <<<"$sentence"
one_record_waits
ok 'the status says that no Kafka is configured and one record waits'

systemctl restart waystation.service
true_within 30 one_record_waits
ok 'after a restart the record is still counted'

printf '\n[box]\nname = "by-hand"\n' >>/etc/waystation/waystation.toml
printf '[log]\nformat = "json"\n' >/etc/waystation/conf.d/10-log.toml
# As an older package left it.
chown root:root /etc/waystation/waystation.toml
chmod 644 /etc/waystation/waystation.toml
apt install --reinstall /waystation.deb
secret
true_within 60 one_record_waits
status --json | tr -d ' \n' | grep -q '"box":"by-hand"'
waystation check --print | grep -q '10-log.toml'
ok 'installed over itself, it keeps the settings and reads them, and they are secret again'
rm /etc/waystation/conf.d/10-log.toml

systemctl kill --signal=KILL waystation.service
true_within 60 started_again
true_within 60 one_record_waits
ok 'systemd starts it again after kill -9, and the record is still counted'

dropin=/run/systemd/system/waystation.service.d
mkdir -p "$dropin"
printf '[Service]\nWatchdogSec=3s\n' >"$dropin/watchdog.conf"
systemctl daemon-reload
systemctl restart waystation.service
true_within 60 last_stop clean
# Stopped, it makes no progress, like a process that its disk does not answer.
kill -STOP "$(systemctl show --property MainPID --value waystation.service)"
true_within 60 last_stop watchdog
one_record_waits
rm -r "$dropin"
systemctl daemon-reload
systemctl restart waystation.service
true_within 60 last_stop clean
ok 'the watchdog starts it again when it makes no progress, and the status says so'

apt remove waystation
gone active
gone test -e /usr/bin/waystation
segments
ok 'the package is removed, the spool is still there with its segment'

apt install /waystation.deb
true_within 60 one_record_waits
ok 'installed again, it goes on with the record'

apt purge waystation
gone test -e /etc/waystation
grep -q '/var/lib/waystation may hold records and is kept' /apt.log
segments
ok 'a purge keeps the record too, and says where it is'

touch /deb-inside.passed
