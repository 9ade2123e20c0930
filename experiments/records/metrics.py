"""A run's metrics over time: metrics.jsonl, and TensorBoard event files."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from experiments.records import jsonlines
from experiments.records.media import Audio, Image, encode_png, encode_wav


class MetricWriter(Protocol):
    """Writes one event of the run at once: its kind, its step and its values."""

    def __call__(self, kind: str, step: int, **values: Any) -> None: ...


@contextlib.contextmanager
def metric_writer(run_dir: Path, *, tensorboard: bool = True) -> Iterator[MetricWriter]:
    """Yields `write(kind, step, **values)`, which adds one line to metrics.jsonl.

    A line holds kind, step, the `seconds` since the writer was opened, and the values;
    NaN and infinity become null.  Every line is flushed, so a crash loses none.  With
    `tensorboard`, each number also goes to an event file, under the tag kind/name.

    An `Image` or `Audio` among the values becomes a file in media/, which the line
    names, and appears in TensorBoard.  A resumed run appends to the lines of the
    earlier one; a truncated last line is removed, and TensorBoard drops the earlier
    run's events from the first new step on.
    """
    opened = time.monotonic()
    path = run_dir / "metrics.jsonl"
    resumed = _drop_truncated_line(path)
    with contextlib.ExitStack() as stack:
        lines = stack.enter_context(open(path, "a"))
        write_summary = (
            stack.enter_context(_event_file(run_dir, resumed)) if tensorboard else None
        )

        def write(kind: str, step: int, **values: Any) -> None:
            if "seconds" in values:
                raise ValueError(f"{kind}: the value name 'seconds' is taken")
            media = {
                name: values.pop(name)
                for name, value in list(values.items())
                if isinstance(value, (Image, Audio))
            }
            values = {name: _scalar(value) for name, value in values.items()}
            for name, value in media.items():
                values[name] = _save(run_dir, f"{kind}-{name}-{int(step):06d}", value)
            seconds = round(time.monotonic() - opened, 6)
            head = {"kind": kind, "step": int(step), "seconds": seconds}
            lines.write(jsonlines.dumps(head | values) + "\n")
            lines.flush()
            if write_summary is not None:
                summary: dict[str, float | Image | Audio] = {
                    f"{kind}/{name}": float(value)
                    for name, value in values.items()
                    if isinstance(value, (bool, int, float))
                }
                summary |= {f"{kind}/{name}": value for name, value in media.items()}
                write_summary(int(step), summary)

        yield write


def read(path: Path) -> list[dict[str, Any]]:
    """The events of a metrics.jsonl, in order; a truncated last line is dropped."""
    return [event for _, event in jsonlines.read(path)]


def _scalar(value: Any) -> Any:
    """Tensors and arrays as Python values."""
    value = value.numpy() if hasattr(value, "numpy") else value
    return value.tolist() if hasattr(value, "tolist") else value


def _drop_truncated_line(path: Path) -> bool:
    """Removes a truncated last line; returns whether any line is left."""
    if not path.exists():
        return False
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        os.truncate(path, end)
    return end > 0


def _save(run_dir: Path, name: str, value: Image | Audio) -> str:
    """Writes an image or audio file and returns its path within the run."""
    if isinstance(value, Image):
        suffix, content = "png", encode_png(value)
    else:
        suffix, content = "wav", encode_wav(value)
    path = run_dir / "media" / f"{name}.{suffix}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return str(path.relative_to(run_dir))


class _SummaryWriter(Protocol):
    def __call__(self, step: int, values: dict[str, float | Image | Audio]) -> None: ...


@contextlib.contextmanager
def _event_file(run_dir: Path, resumed: bool) -> Iterator[_SummaryWriter]:
    """Opens a TensorBoard event file, which is written without TensorFlow.

    TensorBoard's own writer would put the host's name into the file's name.
    resumed: whether to tell TensorBoard to drop earlier events of later steps.
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

        def fields_of(value: float | Image | Audio) -> dict[str, Any]:
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

        def write_summary(step: int, values: dict[str, float | Image | Audio]) -> None:
            nonlocal resumed
            if resumed:
                status = event_pb2.SessionLog.START
                write(step=step, session_log=event_pb2.SessionLog(status=status))
                resumed = False
            parts = [
                summary_pb2.Summary.Value(tag=tag, **fields_of(value))
                for tag, value in values.items()
            ]
            if parts:
                write(step=step, summary=summary_pb2.Summary(value=parts))

        write(file_version="brain.Event:2")
        yield write_summary
