"""`python -m tether_orchestrator`: the orchestrator by itself."""

import sys

from tether.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["serve", "orchestrator"]
    main()
