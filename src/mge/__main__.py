"""`python -m mge` is `mge`."""

import sys

from mge.cli import main

sys.exit(main())
