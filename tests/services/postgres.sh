#!/usr/bin/env bash
# PostgreSQL for the tests: `start DIR`, `stop DIR`, `restart-immediate`.
# A server that runs is used as it is. Each run has a role of its own that may create databases; `stop`
# drops that role with all it made, and leaves the server running.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# The clusters to choose from: the one that Debian's own PGCLUSTER=VERSION/NAME names, or all.
clusters() { pg_lsclusters -h | awk -v named="${PGCLUSTER-}" 'named == "" || named == $1 "/" $2'; }
# Version, name and port of the cluster to use: one that runs, else the newest.
cluster() { { clusters | grep -w online || clusters | sort -rV; } | awk 'NR == 1 { print $1, $2, $3 }'; }

start_cluster() {
    if has_systemd; then
        as_root systemctl start "postgresql@$1-$2"
    else
        as_root pg_ctlcluster --skip-systemctl-redirect "$1" "$2" start
    fi
}

admin() { as_user postgres psql -p "$port" -d postgres -v ON_ERROR_STOP=1 -qAtX "$@"; }

find_cluster() {
    read -r version name port < <(cluster) || die "PostgreSQL has no cluster (pg_lsclusters)"
}

start() {
    local dir=$1 role password
    need_packages postgresql
    find_cluster
    pg_isready -q -h 127.0.0.1 -p "$port" || start_cluster "$version" "$name"
    wait_for 60 pg_isready -q -h 127.0.0.1 -p "$port" || die "PostgreSQL does not answer on port $port"
    role=signalpost_test_$(basename "$dir" | sed 's/.*\.//' | tr '[:upper:]' '[:lower:]')_$(random_hex 3)
    password=$(random_hex 12)
    echo "$role" >"$dir/postgres-role"
    admin -c "CREATE ROLE $role LOGIN CREATEDB PASSWORD '$password'" -c "CREATE DATABASE $role OWNER $role"
    give "$dir" SIGNALPOST_TEST_POSTGRES "postgres://$role:$password@127.0.0.1:$port/$role"
}

stop() {
    local dir=$1 role
    [ -s "$dir/postgres-role" ] || return 0
    role=$(cat "$dir/postgres-role")
    find_cluster
    admin <<SQL
SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database
WHERE datdba = (SELECT oid FROM pg_roles WHERE rolname = '$role') \gexec
DROP ROLE IF EXISTS $role;
SQL
    rm "$dir/postgres-role"
}

# The server dies as in a power cut, without a checkpoint, and comes back through recovery.
restart_immediate() {
    find_cluster
    as_root pg_ctlcluster --skip-systemctl-redirect "$version" "$name" stop -m immediate
    start_cluster "$version" "$name"
    wait_for 60 pg_isready -q -h 127.0.0.1 -p "$port" || die "PostgreSQL did not come back"
}

case ${1-} in
start) start "$2" ;;
stop) stop "$2" ;;
restart-immediate) restart_immediate ;;
*) die "usage: postgres.sh start DIR | stop DIR | restart-immediate" ;;
esac
