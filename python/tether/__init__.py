"""Tether: a gRPC-first AI inference network."""
