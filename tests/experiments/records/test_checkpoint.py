import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.records import checkpoint
from experiments.records.checkpoint import CheckpointError

REPO = Path(__file__).resolve().parents[3]
METADATA = {"model": "small", "seed": 3}


def arrays(step=0):
    return {
        "weights/a/b": np.arange(12, dtype=np.float32).reshape(3, 4) + step,
        "slots/a/b/mean": np.full((2, 0), 1.0),
        "step": np.int64(step),
    }


def save(folder, step, *, keep_last=10, keep_every=None):
    return checkpoint.save(
        folder,
        step,
        arrays(step),
        metadata=METADATA,
        keep_last=keep_last,
        keep_every=keep_every,
    )


def steps(folder):
    return sorted(path.name for path in folder.iterdir())


def test_loaded_arrays_equal_the_saved_bit_for_bit(tmp_path):
    path = save(tmp_path / "checkpoints", 7)
    loaded = checkpoint.load(path, metadata=METADATA)
    assert (loaded.step, loaded.metadata, path.name) == (7, METADATA, "step-000007")
    assert list(loaded.arrays) == list(arrays())
    for name, array in arrays(7).items():
        assert loaded.arrays[name].dtype == np.asarray(array).dtype
        np.testing.assert_array_equal(loaded.arrays[name], array, strict=True)


def test_fortran_order_and_special_floats_round_trip(tmp_path):
    array = np.asfortranarray([[np.nan, -0.0], [np.inf, 1e-45]], dtype=np.float32)
    path = checkpoint.save(tmp_path, 0, {"a": array}, metadata={}, keep_last=1)
    (loaded,) = checkpoint.load(path, metadata={}).arrays.values()
    assert loaded.tobytes() == np.ascontiguousarray(array).tobytes()


def test_latest_is_the_checkpoint_of_most_steps(tmp_path):
    assert checkpoint.latest(tmp_path / "none") is None
    for step in (5, 1_000_000, 70):
        save(tmp_path, step)
    assert checkpoint.latest(tmp_path).name == "step-1000000"


def test_keep_last_and_keep_every_decide_what_remains(tmp_path):
    for step in range(0, 100, 10):
        save(tmp_path, step, keep_last=2, keep_every=40)
    assert steps(tmp_path) == [f"step-{s:06d}" for s in (40, 80, 90)]


def test_an_existing_checkpoint_is_never_overwritten(tmp_path):
    path = save(tmp_path, 1)
    before = (path / "manifest.json").read_bytes()
    with pytest.raises(CheckpointError, match="step-000001 already exists"):
        save(tmp_path, 1)
    assert (path / "manifest.json").read_bytes() == before


def test_a_process_killed_while_writing_leaves_no_checkpoint(tmp_path):
    save(tmp_path, 1)
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from experiments.records import checkpoint\n"
        "class Bomb:\n"
        "    nbytes = 0\n"
        "    def __array__(self, *_, **__):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "checkpoint.save(Path(sys.argv[1]), 2, {'a': np.ones(3), 'b': Bomb()},\n"
        "                metadata={}, keep_last=1)\n"
    )
    process = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=REPO)
    assert process.returncode == -9
    assert steps(tmp_path) == [".step-000002.partial", "step-000001"]
    assert checkpoint.latest(tmp_path).name == "step-000001"
    save(tmp_path, 3)
    assert steps(tmp_path) == ["step-000001", "step-000003"]


@pytest.fixture
def small_files():
    """A limit on a file's size, which a write meets as it does a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_reported_and_earlier_checkpoints_remain(tmp_path, small_files):
    save(tmp_path, 1, keep_last=1)
    large = {"weights/large": np.zeros(100_000)}
    with pytest.raises(CheckpointError) as caught:
        checkpoint.save(tmp_path, 2, large, metadata=METADATA, keep_last=1)
    text = str(caught.value)
    assert "step-000002, 800,000 bytes, could not be written" in text
    assert "the last good checkpoint is" in text and "step-000001" in text
    assert steps(tmp_path) == ["step-000001"]
    assert checkpoint.load(tmp_path / "step-000001", metadata=METADATA).step == 1


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"model": "large"}, "another run: its model is 'small', wanted 'large'"),
        ({"seed": 4}, "another run: its seed is 3, wanted 4"),
        ({"data": "x"}, "another run: its data is None, wanted 'x'"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, metadata, message):
    path = save(tmp_path, 1)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(path, metadata=metadata)


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def shorten(path):
    path.write_bytes(path.read_bytes()[:-5])


def empty(path):
    path.write_bytes(b"")


def swap(path):
    np.save(path, np.zeros((4, 3), np.float32))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (flip, "differs from what was saved"),
        (shorten, "cannot be read"),
        (empty, "cannot be read"),
        (Path.unlink, "is missing"),
        (swap, r"is <f4 \[4, 3\], wanted <f4 \[3, 4\]"),
    ],
)
def test_a_damaged_array_is_named_with_the_remaining_checkpoint(
    tmp_path, harm, message
):
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    harm(path / "0000.npy")
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path, metadata=METADATA)
    text = str(caught.value)
    assert "step-000002 is damaged: 0000.npy, which is weights/a/b," in text
    assert text.endswith("; remove it to resume from step-000001")
    assert re.search(message, text)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 1}'])
def test_a_damaged_manifest_is_refused(tmp_path, text):
    path = save(tmp_path, 1)
    (path / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match="is damaged: .*manifest.json.*no other"):
        checkpoint.load(path, metadata=METADATA)


def test_another_schema_is_refused(tmp_path):
    path = save(tmp_path, 1)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"schema": 2}))
    with pytest.raises(CheckpointError, match="has schema 2, wanted 1"):
        checkpoint.load(path, metadata=METADATA)


def test_an_unsupported_dtype_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="odd: given dtype object"):
        checkpoint.save(tmp_path, 1, {"odd": np.array([{}])}, metadata={}, keep_last=1)
    assert not list(tmp_path.iterdir())
