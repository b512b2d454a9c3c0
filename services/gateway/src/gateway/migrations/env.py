"""What alembic runs."""

import messaging.tables
from chassis.migrating import run_env

import gateway.tables

run_env([messaging.tables.metadata, gateway.tables.metadata])
