"""Entry point of `python3 -m dev.cluster`."""

import sys

from .cli import main

sys.exit(main())
