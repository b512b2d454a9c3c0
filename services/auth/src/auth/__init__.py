"""Who is asking: accounts, tokens, API keys."""
