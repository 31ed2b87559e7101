#!/usr/bin/env bash
# A private Postfix for the tests: `start DIR`, `stop DIR`.
# Everything lies below DIR: configuration, queue, certificates, passwords, mail. It listens on two free
# ports of 127.0.0.1 (STARTTLS required; TLS from the first byte), takes mail for example.com and *.example
# after AUTH PLAIN or LOGIN, puts all of it into one Maildir, and has no way to send mail out: master.cf
# names no SMTP client. A system Postfix is neither needed nor touched.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

install_postfix() {
    local question="postfix postfix/main_mailer_type select No configuration"
    command -v postfix >/dev/null || echo "$question" | as_root debconf-set-selections
    need_packages postfix sasl2-bin libsasl2-modules libsasl2-modules-db openssl
}

free_ports() {
    /usr/bin/python3 - <<'PYTHON'
import socket
sockets = [socket.socket() for _ in range(2)]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))
PYTHON
}

# A certificate for localhost from an authority made for this run.
make_certificates() {
    local tls=$1/tls
    mkdir -p "$tls"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
        -subj "/CN=Signalpost test authority" -addext basicConstraints=critical,CA:TRUE \
        -addext keyUsage=critical,keyCertSign -keyout "$tls/ca.key" -out "$tls/ca.pem"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" \
        -keyout "$tls/key.pem" -out "$tls/request.pem"
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' >"$tls/extensions"
    openssl x509 -req -in "$tls/request.pem" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -CAcreateserial \
        -days 2 -extfile "$tls/extensions" -out "$tls/cert.pem"
    rm "$tls/ca.key"
}

# Debian's Postfix reads sasl/smtpd.conf below its configuration whatever cyrus_sasl_config_path says.
make_password() {
    local dir=$1
    mkdir -p "$dir/config/sasl"
    printf 'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: %s/config/sasl/db\nmech_list: PLAIN LOGIN\n' \
        "$dir" >"$dir/config/sasl/smtpd.conf"
    printf '%s' "$2" | as_root saslpasswd2 -p -c -f "$dir/config/sasl/db" -u localhost signalpost
    as_root chown postfix "$dir/config/sasl/db"
}

# Bare line feeds are refused where this Postfix can (3.7.10 and up), else handled as `yes` does. By default
# the local networks, from which the tests come, would be left out.
bare_newline() {
    if postconf -c "$1" -d 2>/dev/null | grep -q '^smtpd_forbid_bare_newline_reject_code'; then
        printf 'smtpd_forbid_bare_newline = reject\nsmtpd_forbid_bare_newline_exclusions =\n'
    elif postconf -c "$1" -d 2>/dev/null | grep -q '^smtpd_forbid_bare_newline'; then
        printf 'smtpd_forbid_bare_newline = yes\nsmtpd_forbid_bare_newline_exclusions =\n'
    fi
}

write_main() {
    local dir=$1 uid=$2 gid=$3
    cat >"$dir/config/main.cf" <<MAIN
compatibility_level = 3.6
queue_directory = $dir/queue
data_directory = $dir/data
maillog_file = $dir/log/postfix.log
maillog_file_prefixes = $dir
myhostname = localhost
mydestination =
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
local_recipient_maps =
smtpd_banner = \$myhostname ESMTP
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = $dir/tls/cert.pem
smtpd_tls_key_file = $dir/tls/key.pem
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_path = smtpd
smtpd_sasl_local_domain = localhost
cyrus_sasl_config_path = $dir/config/sasl
smtpd_client_connection_count_limit = 0
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access regexp:$dir/config/recipients, permit_sasl_authenticated, reject
virtual_mailbox_domains = regexp:$dir/config/domains
virtual_mailbox_base = $dir/mail
virtual_mailbox_maps = static:all/
virtual_minimum_uid = 1
virtual_uid_maps = static:$uid
virtual_gid_maps = static:$gid
default_transport = error:this Postfix sends nothing out
relay_transport = error:this Postfix sends nothing out
local_transport = error:this Postfix has no local mail
notify_classes =
in_flow_delay = 0
MAIN
    bare_newline "$dir/config" >>"$dir/config/main.cf"
    printf '/^example\\.com$/ all\n/\\.example$/ all\n' >"$dir/config/domains"
    # Two names for tests that need a refusal or a deferral from a real server.
    printf '/^refused@/ 550 5.1.1 no such mailbox\n/^later@/ 450 4.2.0 greylisted\n' >"$dir/config/recipients"
}

write_master() {
    local dir=$1
    cat >"$dir/config/master.cf" <<MASTER
127.0.0.1:$2 inet n - n - - smtpd
127.0.0.1:$3 inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
MASTER
}

# Delivery never runs as root, and an ordinary user must be able to read what arrived.
make_directories() {
    local dir=$1 uid=$2 gid=$3 folder
    mkdir -p "$dir"/{config,log,queue,mail/all/{new,cur,tmp}}
    as_root install -d -o postfix -m 700 "$dir/data"
    for folder in config log queue; do as_root chown root:root "$dir/$folder"; done
    as_root chown -R "$uid:$gid" "$dir/mail"
}

start() {
    local dir=$1 uid gid password plain wrapped
    install_postfix
    uid=$(id -u) gid=$(id -g)
    [ "$uid" != 0 ] || { uid=$(id -u nobody) gid=$(id -g nobody); }
    password=$(random_hex 12)
    read -r plain wrapped < <(free_ports)
    make_certificates "$dir" >"$dir/openssl.log" 2>&1 || { cat "$dir/openssl.log" >&2; die "openssl failed"; }
    make_password "$dir" "$password"
    mkdir -p "$dir/config"
    write_main "$dir" "$uid" "$gid"
    write_master "$dir" "$plain" "$wrapped"
    make_directories "$dir" "$uid" "$gid"
    as_root postfix -c "$dir/config" start >"$dir/postfix-start.log" 2>&1 || { cat "$dir/postfix-start.log" >&2; die "Postfix does not start"; }
    wait_for 20 listening "$plain" || { as_root cat "$dir/log/postfix.log" >&2; die "Postfix does not listen"; }
    give "$dir" SIGNALPOST_TEST_POSTFIX "smtp://signalpost:$password@localhost:$plain"
    give "$dir" SIGNALPOST_TEST_POSTFIX_TLS "smtps://signalpost:$password@localhost:$wrapped"
    give "$dir" SIGNALPOST_TEST_POSTFIX_CA "$dir/tls/ca.pem"
    give "$dir" SIGNALPOST_TEST_POSTFIX_MAILDIR "$dir/mail/all"
}

stop() {
    # `abort` ends it at once; what is still in its queue goes away with the directory.
    [ ! -d "$1/queue" ] || as_root postfix -c "$1/config" abort >/dev/null 2>&1 || true
}

case ${1-} in
start) start "$2" ;;
stop) stop "$2" ;;
*) die "usage: postfix.sh start DIR | stop DIR" ;;
esac
