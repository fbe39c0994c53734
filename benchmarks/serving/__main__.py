"""`python -m benchmarks.serving`."""

import sys

from benchmarks.serving import main

sys.exit(main())
