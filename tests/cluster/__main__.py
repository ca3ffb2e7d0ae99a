"""Entry point of `python3 -m tests.cluster`."""

import sys

from .cli import main

sys.exit(main())
