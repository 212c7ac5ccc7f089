"""`python -m tether_gateway`: the gateway by itself."""

import sys

from tether.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["serve", "gateway"]
    main()
