"""`python -m tests.mutations`, or with parts of some bugs' names behind it."""

import sys

from tests.mutations.harness import main

sys.exit(main(*sys.argv[1:]))
