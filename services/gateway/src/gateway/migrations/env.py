"""What alembic runs."""

import gateway.tables
import messaging.tables
from chassis.migrating import run_env

run_env([messaging.tables.metadata, gateway.tables.metadata])
