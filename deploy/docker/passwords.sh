#!/bin/sh
# Makes what compose.yml wants beside it: .env with a password for each login, and tds.env with what is Zoho's, to be
# filled in. What is there stays as it is.
set -eu
cd -- "$(dirname -- "$0")"
umask 077
if [ ! -e .env ]; then
    for name in OWNER RECEIVER WORKER POLLER OPERATOR READER GRAFANA; do
        printf '%s_PASSWORD=%s\n' "$name" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
    done > .env
fi
[ -e tds.env ] || cp tds.env.example tds.env
echo "Fill in $(pwd)/tds.env, then: docker compose --file $(pwd)/compose.yml up --detach --build"
