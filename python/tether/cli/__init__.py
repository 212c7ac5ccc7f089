"""The command line: one file per verb, each imported when it is called for."""

from tether.cli.main import main

__all__ = ["main"]
