#!/bin/sh
# The programs' logins, made once, when the data directory is new. `tds db upgrade` grants their roles what they may.
set -eu
login() {
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
        --set group="tds_$1" --set login="$1_of_tds" --set password="$2" <<'SQL'
create role :"group" nologin;
create role :"login" login password :'password' in role :"group";
SQL
}
login receiver "$RECEIVER_PASSWORD"
login worker "$WORKER_PASSWORD"
login poller "$POLLER_PASSWORD"
login operator "$OPERATOR_PASSWORD"
login reader "$READER_PASSWORD"
