"""`python -m tether_bridge`: the bridge by itself."""

import sys

from tether.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["serve", "bridge"]
    main()
