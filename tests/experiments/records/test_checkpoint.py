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
ABOUT = {"model": "small", "seed": 3}


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
        metadata=ABOUT,
        keep_last=keep_last,
        keep_every=keep_every,
    )


def steps(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_loaded_is_what_was_saved_bit_for_bit(tmp_path):
    path = save(tmp_path / "checkpoints", 7)
    held = checkpoint.load(path, metadata=ABOUT)
    assert (held.step, held.metadata, path.name) == (7, ABOUT, "step-000007")
    assert list(held.arrays) == list(arrays())
    for name, array in arrays(7).items():
        assert held.arrays[name].dtype == np.asarray(array).dtype
        np.testing.assert_array_equal(held.arrays[name], array, strict=True)


def test_columns_first_and_odd_bits_come_back_too(tmp_path):
    given = np.asfortranarray([[np.nan, -0.0], [np.inf, 1e-45]], dtype=np.float32)
    path = checkpoint.save(tmp_path, 0, {"a": given}, metadata={}, keep_last=1)
    (held,) = checkpoint.load(path, metadata={}).arrays.values()
    assert held.tobytes() == np.ascontiguousarray(given).tobytes()


def test_the_newest_is_the_one_of_most_steps(tmp_path):
    assert checkpoint.latest(tmp_path / "none") is None
    for step in (5, 1_000_000, 70):
        save(tmp_path, step)
    assert checkpoint.latest(tmp_path).name == "step-1000000"


def test_the_last_and_every_so_many_are_kept(tmp_path):
    for step in range(0, 100, 10):
        save(tmp_path, step, keep_last=2, keep_every=40)
    assert steps(tmp_path) == [f"step-{s:06d}" for s in (40, 80, 90)]


def test_nothing_is_written_over(tmp_path):
    path = save(tmp_path, 1)
    before = (path / "manifest.json").read_bytes()
    with pytest.raises(CheckpointError, match="step-000001 is there already"):
        save(tmp_path, 1)
    assert (path / "manifest.json").read_bytes() == before


def test_a_process_killed_while_writing_leaves_no_checkpoint_and_no_rubbish(tmp_path):
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
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=REPO)
    assert done.returncode == -9
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


def test_a_disk_too_small_is_told_and_leaves_the_earlier_ones(tmp_path, small_files):
    save(tmp_path, 1, keep_last=1)
    large = {"weights/large": np.zeros(100_000)}
    with pytest.raises(CheckpointError) as caught:
        checkpoint.save(tmp_path, 2, large, metadata=ABOUT, keep_last=1)
    text = str(caught.value)
    assert "step-000002, 800,000 bytes, could not be written" in text
    assert "the last good checkpoint is" in text and "step-000001" in text
    assert steps(tmp_path) == ["step-000001"]
    assert checkpoint.load(tmp_path / "step-000001", metadata=ABOUT).step == 1


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"model": "large"}, "another run: its model is 'small', wanted 'large'"),
        ({"seed": 4}, "another run: its seed is 3, wanted 4"),
        ({"data": "x"}, "another run: its data is None, wanted 'x'"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, about, said):
    path = save(tmp_path, 1)
    with pytest.raises(CheckpointError, match=said):
        checkpoint.load(path, metadata=about)


def flip(path):
    held = bytearray(path.read_bytes())
    held[-1] ^= 1
    path.write_bytes(held)


def shorten(path):
    path.write_bytes(path.read_bytes()[:-5])


def empty(path):
    path.write_bytes(b"")


def swap(path):
    np.save(path, np.zeros((4, 3), np.float32))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (flip, "is not what was saved"),
        (shorten, "cannot be read"),
        (empty, "cannot be read"),
        (Path.unlink, "is missing"),
        (swap, r"is <f4 \[4, 3\], wanted <f4 \[3, 4\]"),
    ],
)
def test_a_damaged_array_is_named_and_so_is_what_is_left(tmp_path, harm, said):
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    harm(path / "0000.npy")
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path, metadata=ABOUT)
    text = str(caught.value)
    assert "step-000002 is damaged: 0000.npy, which is weights/a/b," in text
    assert text.endswith("; remove it to go on from step-000001")
    assert re.search(said, text)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 1}'])
def test_a_damaged_manifest_is_refused(tmp_path, text):
    path = save(tmp_path, 1)
    (path / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match="is damaged: .*manifest.json.*no other"):
        checkpoint.load(path, metadata=ABOUT)


def test_another_schema_is_refused(tmp_path):
    path = save(tmp_path, 1)
    told = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(told | {"schema": 2}))
    with pytest.raises(CheckpointError, match="has schema 2, wanted 1"):
        checkpoint.load(path, metadata=ABOUT)


def test_a_dtype_that_would_not_come_back_is_refused_before_anything_is_left(tmp_path):
    with pytest.raises(ValueError, match="odd: dtype object"):
        checkpoint.save(tmp_path, 1, {"odd": np.array([{}])}, metadata={}, keep_last=1)
    assert not list(tmp_path.iterdir())
