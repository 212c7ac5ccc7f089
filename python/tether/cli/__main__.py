"""`python -m tether.cli` is `tether`."""

from tether.cli.main import main

main()
