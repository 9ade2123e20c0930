"""How a batch of examples is shared out over processes."""


def process_share(batch_size: int, num_processes: int) -> int:
    """How many of a batch's examples each process has.

    Raises ValueError when they do not divide.
    """
    if batch_size < 1 or batch_size % num_processes:
        raise ValueError(
            f"batch_size: {batch_size} examples do not divide over "
            f"{num_processes} processes"
        )
    return batch_size // num_processes
