"""python -m minicnn: the same as the command minicnn."""

import sys

from minicnn.cli import main

sys.exit(main())
