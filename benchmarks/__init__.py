"""How fast docqa is, held against the same work done by one straight script: `python -m benchmarks`."""
