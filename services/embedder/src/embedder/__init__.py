"""From chunks to vectors: embedding, and the index they lie in."""
