"""What every service needs to stand: settings, logs, telemetry, health, problems, database, identity, object store."""

from chassis.leaving_out import leaving_out

# Where rich is installed, both load it for the terminals that no service has: 4 MB and 0.1 s of each process.
with leaving_out("rich", "pygments"):
    import httpx as httpx
    import structlog as structlog
