"""Artifacts: a model's files, each named by its SHA-256, and the signed list that makes them one thing."""
