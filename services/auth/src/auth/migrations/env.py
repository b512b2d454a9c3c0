"""Alembic's entry: auth's own tables and those of messaging."""

import messaging.tables
from chassis.migrating import run_env

from auth import tables

run_env([messaging.tables.metadata, tables.metadata])
