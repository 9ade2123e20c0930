"""A run's curves as they are made: metrics.jsonl, and the same for TensorBoard."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from experiments.records import jsonlines
from experiments.records.media import Audio, Image, encode_png, encode_wav


class MetricWriter(Protocol):
    """Writes one event of the run at once: what happened, when, and its numbers."""

    def __call__(self, kind: str, step: int, **values: Any) -> None:  # noqa: D102
        ...


@contextlib.contextmanager
def metric_writer(run_dir: Path, *, tensorboard: bool = True) -> Iterator[MetricWriter]:
    """Yields `event(kind, step, **values)`, which adds one line to metrics.jsonl.

    A line holds kind, step, `seconds` since the recording began, and the values; NaN
    and infinity become null.  Every line is flushed, so a crash loses none.  With
    `tensorboard`, each number goes to an event file too, under the tag kind/name.

    An `Image` or `Audio` among the values becomes a file in media/, which the line
    names, and is shown by TensorBoard.  A run gone on with adds to its lines; what is
    cut short is taken away, and TensorBoard forgets what the new lines come before.
    """
    began = time.monotonic()
    path = run_dir / "metrics.jsonl"
    again = _mend(path)
    with contextlib.ExitStack() as stack:
        lines = stack.enter_context(open(path, "a"))
        shown = (
            stack.enter_context(_event_file(run_dir, again)) if tensorboard else None
        )

        def event(kind: str, step: int, **values: Any) -> None:
            clash = sorted(values.keys() & {"seconds"})
            if clash:
                raise ValueError(f"{kind}: the value name {clash[0]!r} is taken")
            media = {
                name: values.pop(name)
                for name, value in list(values.items())
                if isinstance(value, (Image, Audio))
            }
            values = {name: _scalar(value) for name, value in values.items()}
            for name, value in media.items():
                values[name] = _save(run_dir, f"{kind}-{name}-{int(step):06d}", value)
            seconds = round(time.monotonic() - began, 6)
            head = {"kind": kind, "step": int(step), "seconds": seconds}
            lines.write(jsonlines.dumps(head | values) + "\n")
            lines.flush()
            if shown is not None:
                told: dict[str, float | Image | Audio] = {
                    f"{kind}/{name}": float(value)
                    for name, value in values.items()
                    if isinstance(value, (bool, int, float))
                }
                told |= {f"{kind}/{name}": value for name, value in media.items()}
                shown(int(step), told)

        yield event


def read(path: Path) -> list[dict[str, Any]]:
    """The events of a metrics.jsonl, in order; a last line cut short is dropped."""
    return [event for _, event in jsonlines.read(path)]


def _scalar(value: Any) -> Any:
    """Tensors and arrays as Python values."""
    value = value.numpy() if hasattr(value, "numpy") else value
    return value.tolist() if hasattr(value, "tolist") else value


def _mend(path: Path) -> bool:
    """Takes a last line cut short away; returns whether any line is left."""
    if not path.exists():
        return False
    held = path.read_bytes()
    whole = held.rfind(b"\n") + 1
    if whole < len(held):
        os.truncate(path, whole)
    return whole > 0


def _save(run_dir: Path, name: str, value: Image | Audio) -> str:
    """Writes the file of a picture or sound and returns its path within the run."""
    is_image = isinstance(value, Image)
    path = run_dir / "media" / f"{name}.{'png' if is_image else 'wav'}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(
        encode_png(value) if isinstance(value, Image) else encode_wav(value)
    )
    return str(path.relative_to(run_dir))


class _Shown(Protocol):
    def __call__(self, step: int, values: dict[str, float | Image | Audio]) -> None: ...


@contextlib.contextmanager
def _event_file(run_dir: Path, again: bool) -> Iterator[_Shown]:
    """A TensorBoard event file, written without TensorFlow.

    Not tensorboard's own writer, which puts the host's name into the file's name.
    again: whether it goes on from others, of which what is later is to be forgotten.
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

        def value_of(value: float | Image | Audio) -> dict[str, Any]:
            if isinstance(value, Image):
                height, width, channels = value.pixels.shape
                return {
                    "image": summary_pb2.Summary.Image(
                        height=height,
                        width=width,
                        colorspace=channels,
                        encoded_image_string=encode_png(value),
                    )
                }
            if isinstance(value, Audio):
                return {
                    "audio": summary_pb2.Summary.Audio(
                        sample_rate=value.sample_rate,
                        num_channels=(*value.samples.shape, 1)[1],
                        length_frames=value.samples.shape[0],
                        encoded_audio_string=encode_wav(value),
                        content_type="audio/wav",
                    )
                }
            return {"simple_value": value}

        def shown(step: int, values: dict[str, float | Image | Audio]) -> None:
            nonlocal again
            if again:
                status = event_pb2.SessionLog.START
                write(step=step, session_log=event_pb2.SessionLog(status=status))
                again = False
            parts = [
                summary_pb2.Summary.Value(tag=tag, **value_of(value))
                for tag, value in values.items()
            ]
            if parts:
                write(step=step, summary=summary_pb2.Summary(value=parts))

        write(file_version="brain.Event:2")
        yield shown
