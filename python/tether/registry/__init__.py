"""The registry as its readers see it: a verified snapshot of tenants, keys and models."""
