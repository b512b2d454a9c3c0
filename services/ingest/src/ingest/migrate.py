"""`python -m ingest.migrate`: bring ingest's database to this release."""

from chassis.migrating import main

if __name__ == "__main__":
    main("ingest")
