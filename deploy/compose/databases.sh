#!/usr/bin/env bash
# Run by PostgreSQL's image when it makes its data folder: a database and a role for each service. A role owns its own
# database and can connect to no other.
set -eo pipefail

as_superuser() { psql --username "$POSTGRES_USER" --dbname postgres --quiet --set ON_ERROR_STOP=1 "$@"; }

for service in gateway auth ingest embedder qa; do
  password=POSTGRES_${service^^}_PASSWORD
  as_superuser --set service="$service" --set password="${!password}" <<'SQL'
CREATE ROLE :"service" LOGIN PASSWORD :'password';
CREATE DATABASE :"service" OWNER :"service";
REVOKE ALL ON DATABASE :"service" FROM PUBLIC;
SQL
done
as_superuser --command 'REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC'
