"""How far a run has come: a bar on a terminal, plain lines anywhere else."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any, Protocol, TextIO

INTERVAL_SECONDS = 5.0


class Advance(Protocol):
    """Says that `count` more steps are done, and what to show beside them."""

    def __call__(self, count: int = 1, **shown: Any) -> None: ...


@contextlib.contextmanager
def progress(
    total: int,
    label: str,
    *,
    stream: TextIO | None = None,
    interval_seconds: float = INTERVAL_SECONDS,
) -> Iterator[Advance]:
    """Yields `advance(count, **shown)`; writes to `stream`, standard error when None.

    Where that is no terminal, a line is written for the first advance, then at most one
    every `interval_seconds`, and always one for the last.
    """
    stream = sys.stderr if stream is None else stream
    if stream.isatty():
        from tqdm import tqdm  # type: ignore[import-untyped]

        with tqdm(total=total, desc=label, file=stream, dynamic_ncols=True) as bar:

            def advance_bar(count: int = 1, **shown: Any) -> None:
                bar.set_postfix(_shown(shown), refresh=False)
                bar.update(count)

            yield advance_bar
        return

    began = time.monotonic()
    done, written = 0, -float("inf")

    def advance_lines(count: int = 1, **shown: Any) -> None:
        nonlocal done, written
        done += count
        now = time.monotonic()
        if done < total and now - written < interval_seconds:
            return
        written = now
        beside = "".join(f", {name} {text}" for name, text in _shown(shown).items())
        line = f"{label}: {done} of {total}, {now - began:.1f} s{beside}"
        print(line, file=stream, flush=True)

    yield advance_lines


def _shown(values: dict[str, Any]) -> dict[str, str]:
    return {
        name: f"{value:.4g}" if isinstance(value, float) else str(value)
        for name, value in values.items()
    }
