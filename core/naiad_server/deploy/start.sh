#!/bin/sh
# Start what compose.yaml starts, without Docker: the server over a folder, behind Caddy if it is installed.
#
#   sh start.sh FOLDER [PORT]        ends with Ctrl-C, or with SIGTERM to its process
#
# NAIAD_HOST names the host of Caddy's certificate; without it, or without Caddy, the server answers this machine alone.
set -eu
store=${1:?the folder of the store}
port=${2:-8128}
mkdir -p "$store"
set -- --init --port "$port"
caddy=
if [ -n "${NAIAD_HOST:-}" ] && command -v caddy > /dev/null; then
    set -- "$@" --trusted-proxy 127.0.0.1 --url "https://$NAIAD_HOST"
    NAIAD_UPSTREAM=127.0.0.1:$port caddy run --config "$(dirname "$0")/Caddyfile" &
    caddy=$!
fi
naiad server --store "$store" "$@" &
server=$!
trap 'kill -TERM $server $caddy 2> /dev/null; wait $server || true; exit 0' INT TERM
wait $server
