# SPDX-License-Identifier: Apache-2.0
"""`python -m tapio_fast.bench`."""
import sys

from tapio_fast.bench import main

if __name__ == "__main__":
    sys.exit(main())
