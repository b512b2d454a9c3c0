"""Auth's schema, step by step."""
