#!/usr/bin/env bash
# RabbitMQ for the tests: `start DIR`, `stop DIR`, `add-vhost NAME USER`, `delete-vhost NAME`,
# `kill-and-start`.
# A broker that runs is used as it is. Each run has a user of its own; `stop` deletes that user and the
# virtual hosts named after it, and leaves the broker running. Another node than the machine's usual one is
# named by RabbitMQ's own variables (RABBITMQ_NODENAME, RABBITMQ_NODE_PORT, RABBITMQ_CONFIG_FILE, …).
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

port=${RABBITMQ_NODE_PORT:-5672}

ctl() { as_root rabbitmqctl --quiet "$@"; }

start_broker() {
    # An Erlang node is named after its host; a container's name often does not resolve.
    local settings=/etc/rabbitmq/rabbitmq-env.conf
    if ! getent hosts "$(uname -n | cut -d. -f1)" >/dev/null && ! grep -qs '^NODENAME=' "$settings"; then
        say "the host name does not resolve: the broker's node becomes rabbit@localhost ($settings)"
        echo NODENAME=rabbit@localhost | as_root tee -a "$settings" >/dev/null
    fi
    if has_systemd && [ -z "${RABBITMQ_NODENAME-}" ]; then
        as_root systemctl start rabbitmq-server
    else
        as_root rabbitmq-server -detached >/dev/null 2>&1
    fi
    wait_for 120 started || die "RabbitMQ does not start"
}

# await_startup waits for a node that is booting, but fails at once while there is none yet.
started() { ctl await_startup --timeout 30 && listening "$port"; }

start() {
    local dir=$1 user password
    need_packages rabbitmq-server
    started >/dev/null 2>&1 || start_broker
    user=signalpost_test_$(random_hex 6)
    password=$(random_hex 12)
    echo "$user" >"$dir/rabbitmq-user"
    ctl add_user "$user" "$password"
    ctl set_user_tags "$user" administrator
    ctl set_permissions -p / "$user" '.*' '.*' '.*'
    give "$dir" SIGNALPOST_TEST_AMQP "amqp://$user:$password@127.0.0.1:$port/%2f"
}

stop() {
    local dir=$1 user vhost
    [ -s "$dir/rabbitmq-user" ] || return 0
    user=$(cat "$dir/rabbitmq-user")
    for vhost in $(ctl list_vhosts name --no-table-headers | grep "^$user\." || true); do
        ctl delete_vhost "$vhost"
    done
    ctl delete_user "$user"
    rm "$dir/rabbitmq-user"
}

# `kill -9` of the process that is the broker, then a start from what is on disk.
kill_and_start() {
    local pid
    # -detached writes no PID file, so the broker itself is asked.
    pid=$(ctl eval 'os:getpid().' | tr -cd '0-9')
    [ -n "$pid" ] || die "the broker did not tell its process id"
    as_root kill -KILL "$pid"
    wait_for 30 not_running "$pid" || die "process $pid outlives kill -9"
    start_broker
}
not_running() { ! as_root kill -0 "$1" 2>/dev/null; }

case ${1-} in
start) start "$2" ;;
stop) stop "$2" ;;
add-vhost) ctl add_vhost "$2" && ctl set_permissions -p "$2" "$3" '.*' '.*' '.*' ;;
delete-vhost) ctl delete_vhost "$2" ;;
kill-and-start) kill_and_start ;;
*) die "usage: rabbitmq.sh start DIR | stop DIR | add-vhost NAME USER | delete-vhost NAME | kill-and-start" ;;
esac
