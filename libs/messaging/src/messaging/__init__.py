"""How facts are delivered: broker, outbox, jobs, fences, dead letters."""
