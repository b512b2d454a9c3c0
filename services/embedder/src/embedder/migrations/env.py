from chassis.migrating import run_env
from messaging.tables import metadata as delivery

from embedder.tables import metadata

run_env([delivery, metadata])
