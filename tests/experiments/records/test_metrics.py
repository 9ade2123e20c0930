import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.records import metrics, progress

REPO = Path(__file__).resolve().parents[3]


def test_an_event_is_on_disk_before_the_recording_ends(tmp_path):
    with metrics.recording(tmp_path, tensorboard=False) as event:
        event("draw", 3, accept=np.float32(0.5), worst=float("nan"), which="a")
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
    with metrics.recording(tmp_path, tensorboard=False) as event:
        event("draw", 0)
        event("draw", 1)
    path = tmp_path / "metrics.jsonl"
    os.truncate(path, path.stat().st_size - 4)
    assert [line["step"] for line in metrics.read(path)] == [0]


def test_the_name_of_the_clock_is_not_free_for_a_value(tmp_path):
    with metrics.recording(tmp_path, tensorboard=False) as event:
        with pytest.raises(ValueError, match="'seconds' is taken"):
            event("draw", 0, seconds=1.0)


def test_tensorboard_reads_the_numbers_back_and_no_host_is_named(tmp_path):
    from tensorboard.compat.proto import event_pb2
    from tensorboard.compat.tensorflow_stub import pywrap_tensorflow as tensorboard_io

    with metrics.recording(tmp_path) as event:
        event("draw", 7, accept=0.25, which="a")
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


def test_recording_imports_no_tensorflow(tmp_path):
    code = (
        "import pathlib, sys\n"
        "from experiments.records import metrics\n"
        "with metrics.recording(pathlib.Path(sys.argv[1])) as event:\n"
        "    event('a', 0, x=1)\n"
        "sys.exit('tensorflow' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=REPO)
    assert done.returncode == 0


def test_progress_off_a_terminal_is_few_plain_lines_and_always_the_last():
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
