"""`python -m auth.migrate`: brings auth's database to this release's schema."""

from chassis.migrating import main

if __name__ == "__main__":
    main("auth")
