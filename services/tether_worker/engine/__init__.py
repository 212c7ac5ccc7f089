"""Engines of the worker: one protocol, `ModelRuntime`, and what implements and runs it."""
