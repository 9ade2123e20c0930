"""Audio as TensorFlow Datasets prepares it, made here in its three kinds."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds

from experiments.datasets import tfds_audio
from experiments.datasets.files import CorruptFileError

LENGTH, RATE, NUM = 16, 8000, 6
FORMATS = ("tfrecord", "array_record")
# As nsynth, speech_commands and spoken_digit have them; the last three of this test.
KINDS = {
    "floats": {"shape": (2 * LENGTH,), "dtype": np.float32},
    "short": {"shape": (None,), "dtype": np.int16},
    "long": {"shape": (None,), "dtype": np.int64},
    "stereo": {"shape": (None, 2), "dtype": np.int16},
    "files": {"dtype": np.int16, "lazy_decode": True, "file_format": "wav"},
    "unknown": {"shape": (None,), "dtype": np.int16, "sample_rate": None},
}


def sound(number, kind="short"):
    if kind == "files":
        return io.BytesIO(b"a file, not looked at")
    random = np.random.default_rng(number)
    length = 2 * LENGTH if kind == "floats" else LENGTH + 3 * number
    shape = (length, 2) if kind == "stereo" else length
    samples = random.integers(-(2**15), 2**15, size=shape)
    if kind == "floats":
        return (samples / 2**15).astype(np.float32)
    return samples.astype(KINDS[kind]["dtype"])


class TinySounds(tfds.core.GeneratorBasedBuilder):
    """Noise."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=kind) for kind in KINDS]

    def _info(self):
        given = {"sample_rate": RATE} | KINDS[self.builder_config.name]
        features = {
            "audio": tfds.features.Audio(**given),
            "label": tfds.features.Scalar(np.int64),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, _):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number in range(NUM):
            audio = sound(number, self.builder_config.name)
            yield number, {"audio": audio, "label": number}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Each kind, in one of the two formats."""
    folder = tmp_path_factory.mktemp("prepared")
    for at, kind in enumerate(KINDS):
        builder = tfds.builder(
            f"tiny_sounds/{kind}", data_dir=folder, file_format=FORMATS[at % 2]
        )
        builder.download_and_prepare()
    return folder


def of(data_dir, kind, **more):
    given = {
        "builder": f"tiny_sounds/{kind}",
        "training": "train[:50%]",
        "held_out": "train[50%:]",
        "length": LENGTH,
        "rate": RATE,
    }
    return tfds_audio(data_dir=data_dir, **(given | more))


def everything(audio):
    random = np.random.default_rng(0)
    return [
        split.example(number, random)
        for split in (audio.training, audio.held_out)
        for number in range(split.num)
    ]


def cut(samples):
    return [
        samples[first : first + LENGTH].tobytes()
        for first in range(0, len(samples) - LENGTH + 1, LENGTH)
    ]


@pytest.mark.parametrize("kind", ["floats", "short", "long"])
def test_both_splits_hold_the_clips_of_what_was_prepared(data_dir, kind):
    audio = of(data_dir, kind)
    scale = 2**15 if kind == "floats" else 1
    given = [(sound(n, kind) * scale).astype(np.int16) for n in range(NUM)]
    wanted = sorted(clip for samples in given for clip in cut(samples))
    found = everything(audio)
    assert sorted(clip.tobytes() for clip in found) == wanted
    assert audio.held_out.num >= 3
    assert f"tiny_sounds/{kind}/1.0.0, train[:50%] and train[50%:]" in audio.name
    assert str(data_dir) not in audio.name and audio.length == LENGTH


def test_recordings_are_resampled_mixed_and_padded_as_files_are(data_dir):
    audio = of(data_dir, "floats", rate=RATE // 2, length=2 * LENGTH, short="pad")
    assert "6 resampled from 8000 a second" in audio.source
    assert "6 shorter than a clip padded with zeros" in audio.source
    assert not any(clip[LENGTH:].any() for clip in everything(audio))
    audio = of(data_dir, "stereo", mix_channels=True)
    wanted = [np.rint(sound(n, "stereo").mean(axis=1))[:LENGTH] for n in range(NUM)]
    found = {tuple(clip) for clip in everything(audio)}
    assert {tuple(clip) for clip in wanted} <= found
    assert "6 mixed to one channel" in audio.source


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("short", {"held_out": "test"}, r"has splits \['train'\], given 'test'"),
        ("short", {"held_out": "train"}, "is to be trained on and held out"),
        ("short", {"feature": "label"}, "label is Scalar.*wanted audio"),
        ("short", {"feature": "sound"}, "wanted a feature 'sound'"),
        ("short", {"length": 100}, r"'train\[:50%\]': no clips, 3 shorter than"),
        ("stereo", {}, "audio: 2 channels, wanted 1; mix_channels=True"),
        ("files", {}, "audio: is kept encoded, wanted its samples"),
        ("unknown", {}, "audio: of no known rate"),
        ("lost", {}, "tfds build tiny_sounds/lost"),
    ],
)
def test_what_a_data_set_has_not_is_refused(data_dir, kind, given, said):
    error = FileNotFoundError if kind == "lost" else ValueError
    with pytest.raises(error, match=said):
        of(data_dir, kind, **given)


def test_samples_beyond_16_bits_and_a_damaged_record_are_named(
    data_dir, tmp_path, monkeypatch
):
    def loud(number, kind):
        return np.full(LENGTH, 70_000 * (number + 1), np.int64)

    monkeypatch.setitem(globals(), "sound", loud)
    builder = tfds.builder(
        "tiny_sounds/long", data_dir=tmp_path, file_format="tfrecord"
    )
    builder.download_and_prepare()
    with pytest.raises(
        ValueError, match=r"record \d: samples from \d+ to \d+, wanted 16"
    ):
        of(tmp_path, "long")
    (path,) = (tmp_path / "tiny_sounds" / "long" / "1.0.0").glob("*-train.*")
    held = bytearray(path.read_bytes())
    held[12:20] = bytes(8)
    path.write_bytes(held)
    with pytest.raises(CorruptFileError, match=rf"{path}: record 0: damaged"):
        of(tmp_path, "long")
