"""A run's curves as they are made: metrics.jsonl, and the same for TensorBoard."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from experiments.records import jsonlines


class Event(Protocol):
    """Writes one event of the run at once: what happened, when, and its numbers."""

    def __call__(self, kind: str, step: int, **values: Any) -> None:  # noqa: D102
        ...


@contextlib.contextmanager
def recording(run_dir: Path, *, tensorboard: bool = True) -> Iterator[Event]:
    """Yields `event(kind, step, **values)`, which adds one line to metrics.jsonl.

    A line holds kind, step, `seconds` since the recording began, and the values; NaN
    and infinity become null.  Every line is flushed, so a crash loses none.  With
    `tensorboard`, each number goes to an event file too, under the tag kind/name.
    """
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        lines = stack.enter_context(open(run_dir / "metrics.jsonl", "a"))
        scalars = stack.enter_context(_event_file(run_dir)) if tensorboard else None

        def event(kind: str, step: int, **values: Any) -> None:
            clash = sorted(values.keys() & {"seconds"})
            if clash:
                raise ValueError(f"{kind}: the value name {clash[0]!r} is taken")
            values = {name: _scalar(value) for name, value in values.items()}
            seconds = round(time.monotonic() - began, 6)
            head = {"kind": kind, "step": int(step), "seconds": seconds}
            lines.write(jsonlines.dumps(head | values) + "\n")
            lines.flush()
            if scalars is not None:
                numbers = {
                    f"{kind}/{name}": float(value)
                    for name, value in values.items()
                    if isinstance(value, (bool, int, float))
                }
                scalars(int(step), numbers)

        yield event


def read(path: Path) -> list[dict[str, Any]]:
    """The events of a metrics.jsonl, in order; a last line cut short is dropped."""
    return [event for _, event in jsonlines.read(path)]


def _scalar(value: Any) -> Any:
    """Tensors and arrays as Python values."""
    value = value.numpy() if hasattr(value, "numpy") else value
    return value.tolist() if hasattr(value, "tolist") else value


class _Scalars(Protocol):
    def __call__(self, step: int, numbers: dict[str, float]) -> None: ...


@contextlib.contextmanager
def _event_file(run_dir: Path) -> Iterator[_Scalars]:
    """A TensorBoard event file, written without TensorFlow.

    Not tensorboard's own writer, which puts the host's name into the file's name.
    """
    from tensorboard.compat.proto import (  # type: ignore[import-untyped]
        event_pb2,
        summary_pb2,
    )
    from tensorboard.summary.writer.record_writer import (  # type: ignore[import-untyped]
        RecordWriter,
    )

    folder = run_dir / "tensorboard"
    folder.mkdir(exist_ok=True)
    with open(folder / f"events.out.tfevents.{time.time_ns()}", "wb") as file:
        writer = RecordWriter(file)

        def write(**fields: Any) -> None:
            message = event_pb2.Event(wall_time=time.time(), **fields)
            writer.write(message.SerializeToString())
            writer.flush()

        def scalars(step: int, numbers: dict[str, float]) -> None:
            values = [
                summary_pb2.Summary.Value(tag=tag, simple_value=number)
                for tag, number in numbers.items()
            ]
            if values:
                write(step=step, summary=summary_pb2.Summary(value=values))

        write(file_version="brain.Event:2")
        yield scalars
