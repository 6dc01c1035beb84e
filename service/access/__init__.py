"""Who may ask what: API keys and their scopes, limits of a key, the audit log."""
