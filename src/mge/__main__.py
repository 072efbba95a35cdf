"""Entry point of `python -m mge`."""

import sys

from mge.cli import main

sys.exit(main())
