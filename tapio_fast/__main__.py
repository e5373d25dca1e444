# SPDX-License-Identifier: Apache-2.0
"""`python -m tapio_fast VERB`: the same as the command `tapio-fast VERB`."""
import sys

from tapio_fast.cli import main

sys.exit(main())
