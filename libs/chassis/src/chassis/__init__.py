"""What every service needs to stand: settings, logs, telemetry, health, problems, database, identity, object store."""
