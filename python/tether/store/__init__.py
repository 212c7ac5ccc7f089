"""Stores: what must survive a crash, one database per owner, one dedicated thread per SQLite file."""
