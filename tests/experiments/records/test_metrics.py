import io
import os
import subprocess
import sys
import wave
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator

from experiments.records import metrics, progress
from experiments.records.media import Audio, Image, encode_png

REPO = Path(__file__).resolve().parents[3]


def test_an_event_is_on_disk_before_the_writer_closes(tmp_path):
    with metrics.metric_writer(tmp_path, tensorboard=False) as write:
        write("draw", 3, accept=np.float32(0.5), worst=float("nan"), which="a")
        (line,) = metrics.read(tmp_path / "metrics.jsonl")
    seconds = line.pop("seconds")
    assert seconds >= 0
    assert line == {
        "kind": "draw",
        "step": 3,
        "accept": 0.5,
        "worst": None,
        "which": "a",
    }


def test_a_line_cut_short_is_dropped(tmp_path):
    with metrics.metric_writer(tmp_path, tensorboard=False) as write:
        write("draw", 0)
        write("draw", 1)
    path = tmp_path / "metrics.jsonl"
    os.truncate(path, path.stat().st_size - 4)
    assert [line["step"] for line in metrics.read(path)] == [0]


def test_a_value_may_not_be_named_seconds(tmp_path):
    with metrics.metric_writer(tmp_path, tensorboard=False) as write:
        with pytest.raises(ValueError, match="'seconds' is taken"):
            write("draw", 0, seconds=1.0)


def test_tensorboard_reads_the_numbers_and_the_file_names_no_host(tmp_path):
    from tensorboard.compat.proto import event_pb2
    from tensorboard.compat.tensorflow_stub import pywrap_tensorflow as tensorboard_io

    with metrics.metric_writer(tmp_path) as write:
        write("draw", 7, accept=0.25, which="a")
    (path,) = (tmp_path / "tensorboard").iterdir()
    assert os.uname().nodename not in path.name and "tfevents" in path.name
    reader = tensorboard_io.PyRecordReader_New(str(path))  # its own, without TensorFlow
    first, second = event_pb2.Event(), event_pb2.Event()
    for message in (first, second):
        reader.GetNext()  # raises where the framing or a checksum is wrong
        message.ParseFromString(reader.record())
    assert first.file_version == "brain.Event:2"
    (value,) = second.summary.value
    assert (second.step, value.tag, value.simple_value) == (7, "draw/accept", 0.25)


def test_the_metric_writer_imports_no_tensorflow(tmp_path):
    code = (
        "import pathlib, sys\n"
        "from experiments.records import metrics\n"
        "with metrics.metric_writer(pathlib.Path(sys.argv[1])) as write:\n"
        "    write('a', 0, x=1)\n"
        "sys.exit('tensorflow' in sys.modules)\n"
    )
    process = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=REPO)
    assert process.returncode == 0


def test_progress_without_a_terminal_prints_few_lines_and_the_last():
    stream = io.StringIO()
    with progress.progress(100, "draws", stream=stream, interval_seconds=60) as advance:
        for _ in range(100):
            advance(accept=0.123456)
    first, last = stream.getvalue().splitlines()
    assert first.startswith("draws: 1 of 100, ")
    assert last.startswith("draws: 100 of 100, ") and "accept 0.1235" in last
    assert "\r" not in stream.getvalue() and "\x1b" not in stream.getvalue()


def test_progress_on_a_terminal_is_a_bar():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with progress.progress(4, "draws", stream=stream) as advance:
        advance(4)
    assert "\r" in stream.getvalue() and "4/4" in stream.getvalue()


def messages(folder):
    """What TensorBoard's own reader finds in the event files, in order."""
    from tensorboard.compat.proto import event_pb2
    from tensorboard.compat.tensorflow_stub import pywrap_tensorflow as tensorboard_io

    events = []
    for path in sorted((folder / "tensorboard").iterdir()):
        reader = tensorboard_io.PyRecordReader_New(str(path))
        while True:
            try:
                reader.GetNext()
            except tensorboard_io.errors.OutOfRangeError:
                break
            events.append(event_pb2.Event.FromString(reader.record()))
    return events


def test_images_and_audio_are_files_that_the_line_names(tmp_path):
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    tone = np.sin(np.arange(100) / 5)
    with metrics.metric_writer(tmp_path) as write:
        write("shown", 12, loss=1.0, sample=Image(pixels), tone=Audio(tone, 8000))
    (line,) = metrics.read(tmp_path / "metrics.jsonl")
    assert line["sample"] == "media/shown-sample-000012.png"
    assert line["tone"] == "media/shown-tone-000012.wav"
    np.testing.assert_array_equal(decoded(tmp_path / line["sample"]), pixels)
    with wave.open(str(tmp_path / line["tone"])) as file:
        assert (file.getframerate(), file.getnchannels()) == (8000, 1)
        decoded_audio = np.frombuffer(file.readframes(100), "<i2") / 32767
    np.testing.assert_allclose(decoded_audio, tone, atol=1 / 32767)
    values = {v.tag: v for m in messages(tmp_path) for v in m.summary.value}
    assert values["shown/loss"].simple_value == 1.0
    image, audio = values["shown/sample"].image, values["shown/tone"].audio
    assert (image.height, image.width, image.colorspace) == (4, 5, 3)
    assert image.encoded_image_string == (tmp_path / line["sample"]).read_bytes()
    assert (audio.sample_rate, audio.length_frames) == (8000, 100)
    assert audio.encoded_audio_string == (tmp_path / line["tone"]).read_bytes()


def decoded(path):
    """The pixels of a PNG file as matplotlib's decoder reads them."""
    return (255 * matplotlib.image.imread(path)).round().astype(np.uint8)


def test_floats_become_pixels_and_are_clipped(tmp_path):
    pixels = np.array([[[-1.0], [0.0]], [[0.5], [2.0]]])
    (tmp_path / "a.png").write_bytes(encode_png(Image(pixels)))
    np.testing.assert_array_equal(decoded(tmp_path / "a.png"), [[0, 0], [128, 255]])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Image(np.zeros((4, 4))), "image: given pixels of shape"),
        (Image(np.zeros((4, 4, 2))), r"of \[1, 3, 4\] channels"),
        (Image(np.full((4, 4, 3), np.nan)), "image: given NaN"),
        (Audio(np.zeros((4, 4, 2)), 8000), "audio: given samples of shape"),
        (Audio(np.full(4, np.inf), 8000), "audio: given NaN or infinity"),
    ],
)
def test_invalid_images_and_audio_are_refused(tmp_path, value, message):
    with metrics.metric_writer(tmp_path) as write:
        with pytest.raises(ValueError, match=message):
            write("shown", 0, sample=value)


def test_a_resumed_run_appends_and_tensorboard_drops_later_steps(tmp_path):
    with metrics.metric_writer(tmp_path) as write:
        for step in (1, 2, 3):
            write("train", step, loss=float(step))
    path = tmp_path / "metrics.jsonl"
    os.truncate(path, path.stat().st_size - 4)
    with metrics.metric_writer(tmp_path) as write:
        for step in (2, 3):
            write("train", step, loss=10.0 * step)
    losses = [(line["step"], line["loss"]) for line in metrics.read(path)]
    assert losses == [(1, 1.0), (2, 2.0), (2, 20.0), (3, 30.0)]
    accumulator = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    shown = [(s.step, s.value) for s in accumulator.Reload().Scalars("train/loss")]
    assert shown == [(1, 1.0), (2, 20.0), (3, 30.0)]
