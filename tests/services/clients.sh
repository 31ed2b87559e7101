#!/usr/bin/env bash
# What the publishers in tests/clients need: `start DIR` installs pika for Debian's Python and amqplib for
# Node.js (the latter below the target directory, which git ignores) and tells where they are.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

start() {
    local dir=$1 folder=${CARGO_TARGET_DIR:-$root/target}/test-clients
    need_packages python3 python3-pika
    /usr/bin/python3 -c 'import pika' || die "Debian's Python does not find pika"
    # Node.js may come from elsewhere than Debian; only what is missing is installed.
    command -v node >/dev/null || need_packages nodejs
    command -v npm >/dev/null || need_packages npm
    if ! [ -f "$folder/node_modules/amqplib/package.json" ]; then
        mkdir -p "$folder"
        npm install --prefix "$folder" --no-package-lock --no-audit --no-fund --loglevel=error amqplib@2
    fi
    give "$dir" SIGNALPOST_TEST_PYTHON /usr/bin/python3
    give "$dir" SIGNALPOST_TEST_NODE "$(command -v node)"
    give "$dir" SIGNALPOST_TEST_NODE_PATH "$folder/node_modules"
}

case ${1-} in
start) start "$2" ;;
stop) ;;
*) die "usage: clients.sh start DIR" ;;
esac
