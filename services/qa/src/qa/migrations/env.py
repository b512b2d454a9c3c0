"""Alembic's entry: qa's own tables and those of messaging."""

import messaging.tables
from chassis.migrating import run_env

from qa import tables

run_env([messaging.tables.metadata, tables.Table.metadata])
