"""``python -m jobs.sample``."""

import sys

from jobs.sample import main

if __name__ == "__main__":  # the workers' processes import this module too
    sys.exit(main())
