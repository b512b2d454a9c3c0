"""`python -m embedder.migrate`: bring embedder's database to this release."""

from chassis.migrating import main

if __name__ == "__main__":
    main("embedder")
