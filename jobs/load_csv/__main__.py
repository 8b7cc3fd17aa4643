"""``python -m jobs.load_csv``."""

import sys

from jobs.load_csv import main

if __name__ == "__main__":  # the workers' processes import this module too
    sys.exit(main())
