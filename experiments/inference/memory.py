"""Refuses what does not fit in this machine's memory, before any of it is taken."""

import os


def memory_bytes() -> int:
    """The size of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_bytes(label: str, given: object, needed: int) -> None:
    """Raises ValueError, with both sizes, for more bytes than the memory has.

    given: the number or shape that makes it so large.
    """
    memory = memory_bytes()
    if needed > memory:
        raise ValueError(
            f"{label}: given {given}, wanted less: {needed:,} bytes, and this machine "
            f"has {memory:,}"
        )
