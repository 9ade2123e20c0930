"""What a planted bug is."""

from typing import NamedTuple

INFERENCE = "tests/experiments/inference/"


class Bug(NamedTuple):
    """One slip, in one place."""

    name: str
    file: str
    before: str  # found exactly once in the file
    after: str
    # Arguments of pytest: the cheapest tests that state the claim.
    tests: tuple[str, ...]
