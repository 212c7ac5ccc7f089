"""`python -m tether_worker`: one worker by itself."""

import sys

from tether.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["serve", "worker"]
    main()
