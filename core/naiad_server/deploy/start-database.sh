#!/bin/sh
# Start replicas over PostgreSQL and S3 on this machine, without Docker, behind Caddy if it is installed.
#
#   export NAIAD_SERVER_DATABASE=postgresql://... NAIAD_SERVER_OBJECTS=s3://bucket/naiad      and AWS's variables
#   sh start-database.sh [PORT] [REPLICAS]      ends with Ctrl-C, or with SIGTERM to its process
#
# Replica N listens at PORT + N; Caddy sends requests for NAIAD_HOST to any of them. The first token:
# naiad server token add admin --role admin
set -eu
port=${1:-8128}
replicas=${2:-2}
: "${NAIAD_SERVER_DATABASE:?postgresql://...}" "${NAIAD_SERVER_OBJECTS:?s3://bucket/prefix}"
started=
trap 'kill -TERM $started 2> /dev/null; wait || true; exit 0' INT TERM
naiad server migrate
upstream=
at=0
while [ "$at" -lt "$replicas" ]; do
    own=$((port + at))
    upstream="$upstream 127.0.0.1:$own"
    naiad server --port "$own" ${NAIAD_HOST:+--trusted-proxy 127.0.0.1 --url "https://$NAIAD_HOST"} &
    started="$started $!"
    at=$((at + 1))
done
if [ -n "${NAIAD_HOST:-}" ] && command -v caddy > /dev/null; then
    NAIAD_UPSTREAM=${upstream# } caddy run --config "$(dirname "$0")/Caddyfile" &
    started="$started $!"
fi
wait
