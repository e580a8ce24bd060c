#!/bin/sh
# Starts and stops the BFF for the driver: bff.sh start|stop|restart [CONFIG]
# FAPI_BFF names the program; bff.pid and bff.log are kept in the current folder.
set -eu
config=${2:-fapi-bff.toml}

stop() {
    [ -f bff.pid ] || return 0
    pid=$(cat bff.pid)
    rm -f bff.pid
    kill "$pid" 2>/dev/null || return 0
    # The store is one process's at a time: wait until the old one is gone.
    tries=0
    while kill -0 "$pid" 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || { echo "bff.sh: process $pid does not end" >&2; return 1; }
        sleep 0.1
    done
}

start() {
    "${FAPI_BFF:-fapi-bff}" serve --config "$config" >>bff.log 2>&1 </dev/null &
    echo $! >bff.pid
}

case ${1:-} in
    start) start ;;
    stop) stop ;;
    restart) stop && start ;;
    *) echo "usage: bff.sh start|stop|restart [CONFIG]" >&2; exit 2 ;;
esac
