"""A run's progress: a bar on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any, Protocol, TextIO

INTERVAL_SECONDS = 5.0


class Advance(Protocol):
    """Reports that `count` more steps are done, with values to show beside them."""

    def __call__(self, count: int = 1, **values: Any) -> None: ...


@contextlib.contextmanager
def progress(
    total: int,
    label: str,
    *,
    stream: TextIO | None = None,
    interval_seconds: float = INTERVAL_SECONDS,
) -> Iterator[Advance]:
    """Yields `advance(count, **values)`, which shows progress on `stream`.

    stream: standard error when None.  If it is no terminal, `advance` writes a line at
      its first call, then at most one every `interval_seconds`, and one at the last.
      A line has the seconds since the start, if they are more than 0.0.
    """
    stream = sys.stderr if stream is None else stream
    if stream.isatty():
        from tqdm import tqdm  # type: ignore[import-untyped]

        with tqdm(total=total, desc=label, file=stream, dynamic_ncols=True) as bar:

            def advance_bar(count: int = 1, **values: Any) -> None:
                bar.set_postfix(_formatted(values), refresh=False)
                bar.update(count)

            yield advance_bar
        return

    start = time.monotonic()
    done, last_line = 0, -float("inf")

    def advance_lines(count: int = 1, **values: Any) -> None:
        nonlocal done, last_line
        done += count
        now = time.monotonic()
        if done < total and now - last_line < interval_seconds:
            return
        last_line = now
        seconds = f"{now - start:.1f}"
        suffix = "" if seconds == "0.0" else f", {seconds} s"
        for name, text in _formatted(values).items():
            suffix += f", {name} {text}"
        line = f"{label}: {done} of {total}{suffix}"
        print(line, file=stream, flush=True)

    yield advance_lines


def _formatted(values: dict[str, Any]) -> dict[str, str]:
    return {
        name: f"{value:.4g}" if isinstance(value, float) else str(value)
        for name, value in values.items()
    }
