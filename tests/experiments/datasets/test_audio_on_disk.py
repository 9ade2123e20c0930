"""Folders and zips of recordings: what is read of them, and what is refused."""

import io
import shutil
import zipfile

import numpy as np
import pytest
import soundfile

from experiments.datasets import audio_files
from experiments.datasets.audio import training_batches
from experiments.datasets.files import CorruptFileError

LENGTH, RATE = 16, 8000


def sound(number, length=LENGTH):
    random = np.random.default_rng(number)
    return random.integers(-(2**15), 2**15, size=length).astype(np.int16)


def save(path, samples, rate=RATE, subtype="PCM_16"):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


@pytest.fixture
def folder(tmp_path):
    """Ten files of two clips and a rest, FLAC and WAV in turn."""
    for number in range(10):
        name = f"part{number % 3}/{number}_bell.{'wav' if number % 2 else 'flac'}"
        save(tmp_path / "sounds" / name, sound(number, 2 * LENGTH + 5))
    return tmp_path / "sounds"


def of(path, **more):
    return audio_files(**({"path": path, "length": LENGTH, "rate": RATE} | more))


def all_of(split):
    random = np.random.default_rng(0)
    return [split.example(number, random) for number in range(split.num)]


def everything(audio):
    return all_of(audio.training) + all_of(audio.held_out)


def bytes_of(clips):
    clips = list(clips)
    assert all(clip.dtype == np.int16 and clip.shape == (LENGTH,) for clip in clips)
    return sorted(clip.tobytes() for clip in clips)


def halves(number):
    whole = sound(number, 2 * LENGTH + 5)
    return [whole[:LENGTH], whole[LENGTH : 2 * LENGTH]]


def test_files_are_cut_into_clips_and_all_of_a_file_is_on_one_side(folder):
    audio = of(folder, held_out_share=0.3)
    assert (audio.training.num, audio.held_out.num) == (14, 6)
    wanted = [clip for number in range(10) for clip in halves(number)]
    assert bytes_of(everything(audio)) == bytes_of(wanted)
    held_out = bytes_of(all_of(audio.held_out))
    sides = [[clip.tobytes() in held_out for clip in halves(n)] for n in range(10)]
    assert all(one == two for one, two in sides)
    batch = training_batches(audio, seed=0, batch_size=7)
    both = np.concatenate([batch(0)["audio"], batch(1)["audio"]])
    assert bytes_of(both.astype(np.int16)) == bytes_of(all_of(audio.training))


def test_files_that_come_move_no_two_others_between_the_sides_in_exchange(folder):
    def held_out(share):
        found = set(bytes_of(all_of(of(folder, held_out_share=share).held_out)))
        return [n for n in range(10) if halves(n)[0].tobytes() in found]

    before = held_out(0.3)
    for number in range(10, 17):
        save(folder / f"more/{number}.wav", sound(number, LENGTH))
    for share in (0.1, 0.3, 0.6):
        after = set(held_out(share))
        assert after <= set(before) or after >= set(before)


def test_those_held_out_may_be_told_by_name(folder):
    audio = of(folder, held_out_match=r"(^|/)[0-2]_bell\.")
    wanted = [clip for number in range(3) for clip in halves(number)]
    assert bytes_of(all_of(audio.held_out)) == bytes_of(wanted)
    assert audio.training.num == 14
    for match, num in (("trumpet", 0), ("bell", 10)):
        with pytest.raises(ValueError, match=rf"is found in {num} of 10 names"):
            of(folder, held_out_match=match)
    with pytest.raises(ValueError, match="wanted one of them"):
        of(folder, held_out_match="bell", held_out_path=folder)


def test_those_held_out_may_have_a_place_of_their_own_apart_from_the_rest(folder):
    other = folder.parent / "judged"
    save(other / "a.wav", sound(99))
    audio = of(folder, held_out_path=other)
    assert (audio.training.num, audio.held_out.num) == (20, 1)
    pairs = [(folder, folder), (folder, folder / "part0"), (folder / "part0", folder)]
    for training, held_out in pairs:
        said = f"{held_out}/.*: is to be trained on and held out"
        with pytest.raises(ValueError, match=said):
            of(training, held_out_path=held_out)


def test_a_zip_holds_what_its_folder_does_and_names_say_what_is_in_them(folder):
    path = folder.parent / "sounds.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
    one, two = of(folder), of(path)
    np.testing.assert_array_equal(everything(one), everything(two))
    assert str(folder) not in one.name and "16 at 8000 Hz, 18 + 2 clips" in one.name
    moved = folder.parent / "elsewhere" / folder.name
    shutil.copytree(folder, moved)
    assert of(moved).name == one.name
    save(moved / "more.wav", sound(50))
    assert of(moved).name != one.name


def two_of(folder, samples, **more):
    """The clips of a folder that holds these samples and a plain file to judge by."""
    save(folder / "train.wav", samples, **more)
    save(folder / "judge.wav", sound(1, 8000))
    return folder


def test_several_channels_are_refused_by_name_and_mixed_when_asked(tmp_path):
    stereo = np.stack([sound(2), sound(3)], axis=1)
    path = two_of(tmp_path, stereo)
    with pytest.raises(ValueError, match="train.wav: 2 channels, wanted 1; mix_ch"):
        of(path, held_out_match="judge")
    audio = of(path, held_out_match="judge", mix_channels=True)
    wanted = np.rint(stereo.astype(float).mean(axis=1))
    np.testing.assert_array_equal(all_of(audio.training)[0], wanted)
    assert "1 mixed to one channel" in audio.source


def test_24_bits_and_floats_are_rounded_to_16_and_cut_off_beyond(tmp_path):
    wide = sound(2).astype(np.int64) * 2**8 + np.arange(-128, 128, 16)
    path = two_of(tmp_path, (wide * 2**8).astype(np.int32), subtype="PCM_24")
    audio = of(path, held_out_match="judge")
    wanted = np.clip(np.rint(wide / 2**8), -(2**15), 2**15 - 1)
    np.testing.assert_array_equal(all_of(audio.training)[0], wanted)
    assert "1 rounded to 16 bits" in audio.source

    floats = np.linspace(-1.5, 1.5, LENGTH, dtype=np.float32)
    audio = of(two_of(tmp_path, floats, subtype="FLOAT"), held_out_match="judge")
    wanted = np.clip(np.rint(2.0**15 * floats), -(2**15), 2**15 - 1)
    np.testing.assert_array_equal(all_of(audio.training)[0], wanted)


@pytest.mark.parametrize("rate", [16000, 11025, 44100, 4000])
def test_other_rates_are_resampled(tmp_path, rate):
    def sine(rate, num):
        return np.rint(20000 * np.sin(2 * np.pi * 440 * np.arange(num) / rate))

    path = two_of(tmp_path, sine(rate, rate).astype(np.int16), rate=rate)
    audio = of(path, held_out_match="judge", length=7999)
    found = all_of(audio.training)[0][1000:7000]
    # A pure tone stays what it is, away from its ends; 20 is 60 dB below it.
    np.testing.assert_allclose(found, sine(RATE, RATE)[1000:7000], atol=20)
    assert f"1 resampled from {rate} a second" in audio.source


def test_resampling_gives_as_many_samples_as_the_header_was_read_to_say(tmp_path):
    for length in range(1, 60):
        save(tmp_path / f"{length:02d}.wav", sound(length, length), rate=11025)
    audio = of(tmp_path, length=2, held_out_match="0[4-9]")
    assert len(everything(audio)) == sum(
        length * 8000 // 11025 // 2 for length in range(1, 60)
    )


def test_short_files_are_skipped_or_padded_and_counted_either_way(folder):
    save(folder / "short.wav", sound(77, LENGTH - 6))
    audio = of(folder)
    assert audio.training.num + audio.held_out.num == 20
    assert "1 shorter than a clip skipped" in audio.source
    assert "1 shorter than a clip skipped" in audio.name
    audio = of(folder, short="pad")
    wanted = np.concatenate([sound(77, LENGTH - 6), np.zeros(6, np.int16)])
    assert wanted.tobytes() in bytes_of(everything(audio))
    assert "1 shorter than a clip padded with zeros" in audio.source
    with pytest.raises(ValueError, match=r"no clips, .* shorter than a clip skipped"):
        of(folder, length=1000)


def test_silent_clips_are_kept_or_counted_out_and_nothing_else_is_refused(folder):
    half = np.concatenate([np.zeros(LENGTH, np.int16), sound(5)])
    save(folder / "half.wav", half)
    kept, skipped = of(folder), of(folder, skip_silent=True)
    assert len(everything(kept)) == 22 and len(everything(skipped)) == 21
    assert "1 silent skipped" in skipped.name and "silent" not in kept.name
    assert bytes_of(everything(skipped)) == bytes_of(
        clip for clip in everything(kept) if clip.any()
    )
    for number in range(3):
        save(folder.parent / f"quiet/{number}.wav", np.full(40, number, np.int16))
    with pytest.raises(ValueError, match=r"quiet \(training\): all 4 clips are silent"):
        of(folder.parent / "quiet")
    with pytest.raises(ValueError, match=r"no clips, 4 silent skipped"):
        of(folder.parent / "quiet", skip_silent=True)


def cut_short(path):
    held = save(path, sound(0, 500)).read_bytes()
    path.write_bytes(held[: len(held) // 2])


def flipped(path):
    held = bytearray(save(path, sound(0, 500)).read_bytes())
    held[-200:-100] = bytes(100)
    path.write_bytes(held)


def not_a_number(path):
    samples = np.zeros(40, np.float32)
    samples[17] = np.nan
    save(path, samples, subtype="FLOAT")


def other_format(path):
    soundfile.write(path, sound(0, 500), RATE, format="AU")


DAMAGES = {
    "empty.wav": (lambda path: path.write_bytes(b""), "no WAV, FLAC"),
    "text.flac": (lambda path: path.write_text("no sound"), "no WAV, FLAC"),
    "none.wav": (lambda path: save(path, sound(0, 0)), "holds no samples"),
    "cut.wav": (cut_short, "damaged; 522 bytes, its header says 1044"),
    "cut.flac": (cut_short, "damaged"),
    "flipped.flac": (flipped, "damaged"),
    "nan.wav": (not_a_number, "holds NaN or infinity"),
    "au.wav": (other_format, "is AU, wanted WAV, FLAC"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_corrupt_files_are_named_and_skipped_and_counted_only_when_asked(folder, name):
    damage, said = DAMAGES[name]
    damage(folder / name)
    with pytest.raises(CorruptFileError, match=f"sounds/{name}: {said}"):
        everything(of(folder))
    audio = of(folder, skip_corrupt=True)
    assert len(everything(audio)) == 20
    assert "1 corrupt skipped" in audio.name and "1 corrupt skipped" in audio.source
    assert audio.left_out == (f"{folder}/{name}",)


def test_a_wav_written_as_a_stream_is_whole(tmp_path):
    held = io.BytesIO()
    soundfile.write(held, sound(3), RATE, format="WAV", subtype="PCM_16")
    streamed = bytearray(held.getvalue())
    streamed[4:8] = streamed[40:44] = b"\xff" * 4
    save(tmp_path / "judge.wav", sound(1))
    (tmp_path / "train.wav").write_bytes(streamed)
    audio = of(tmp_path, held_out_match="judge")
    np.testing.assert_array_equal(all_of(audio.training)[0], sound(3))


def test_places_that_hold_no_sounds_say_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="lost: no such file or folder"):
        of(tmp_path / "lost")
    (tmp_path / "notes.txt").write_text("no sound")
    with pytest.raises(ValueError, match="no WAV, FLAC, .* or MP3 among its 1 files"):
        of(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match="empty: no WAV, FLAC, .* or MP3 among its 0 files"
    ):
        of(tmp_path / "empty")
    with pytest.raises(ValueError, match="notes.txt: wanted a folder or a zip of WAV,"):
        of(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"length": 1}, "length: given 1, wanted at least 2 samples"),
        ({"rate": 0}, "rate: given 0"),
        ({"short": "loop"}, "short: given 'loop', wanted one of"),
        ({"held_out_share": 1.0}, "held_out_share: given 1.0"),
        ({"held_out_share": 0.99}, "10 files, wanted at least 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused(folder, given, said):
    with pytest.raises(ValueError, match=said):
        of(folder, **given)
