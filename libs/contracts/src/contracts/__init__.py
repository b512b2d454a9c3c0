"""What crosses a service boundary: facts, HTTP models, token claims."""
