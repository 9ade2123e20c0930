"""Folders, zips and arrays of images: what is read of them, and what is refused."""

import io
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from experiments.datasets import examined, image_array, image_decoding, image_files
from experiments.datasets.files import Cache, CorruptFileError
from experiments.datasets.images import training_batches

SIZE = 8


def pixels(number, height=SIZE, width=SIZE):
    random = np.random.default_rng(number)
    return random.integers(256, size=(height, width, 3)).astype(np.uint8)


def encoded(array, form="PNG", mode=None, **more):
    held = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(held, form, **more)
    return held.getvalue()


def fill(folder, num=10, **more):
    for number in range(num):
        path = folder / f"part{number % 2}" / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(pixels(number, **more)))
    return folder


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path / "pictures")


def all_of(split):
    random = np.random.default_rng(0)
    return [split.example(number, random) for number in range(split.num)]


def bytes_of(images):
    return sorted(image.tobytes() for image in images)


def zipped(folder, path, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


# Folders and zips.


def test_a_folder_is_split_once_and_for_all_and_nothing_of_it_is_lost(folder):
    images = image_files(path=folder, size=SIZE, held_out_share=0.3)
    assert (images.training.num, images.held_out.num) == (7, 3)
    found = all_of(images.training) + all_of(images.held_out)
    assert bytes_of(found) == bytes_of(pixels(number) for number in range(10))
    again = image_files(path=folder, size=SIZE, held_out_share=0.3)
    assert bytes_of(all_of(again.held_out)) == bytes_of(all_of(images.held_out))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_holds_what_its_folder_does(folder, tmp_path, method):
    path = zipped(folder, tmp_path / "pictures.zip", method)
    one = image_files(path=folder, size=SIZE)
    two = image_files(path=path, size=SIZE)
    for which in ("training", "held_out"):
        for a, b in zip(
            all_of(getattr(one, which)), all_of(getattr(two, which)), strict=True
        ):
            np.testing.assert_array_equal(a, b)


def test_those_held_out_may_have_a_folder_of_their_own(folder, tmp_path):
    other = fill(tmp_path / "judged", num=3)
    images = image_files(path=folder, size=SIZE, held_out_path=other)
    assert (images.training.num, images.held_out.num) == (10, 3)


def test_a_folder_is_not_held_out_of_itself_nor_of_one_around_it(folder, tmp_path):
    inside = folder / "part0"
    link = tmp_path / "linked"
    link.symlink_to(folder)
    for training, held_out in [
        (folder, folder),
        (folder, inside),
        (inside, folder),
        (folder, link),
        (folder, folder / ".." / folder.name / "part0"),
    ]:
        said = f"{held_out}/.*000.png: is to be trained on and held out"
        with pytest.raises(ValueError, match=said):
            image_files(path=training, size=SIZE, held_out_path=held_out)
    # Before any is looked at: one that is corrupt is not met.
    (inside / "aaa.png").write_bytes(b"")
    (folder / "part1" / "aaa.png").write_bytes(b"")
    with pytest.raises(ValueError, match="000.png: is to be trained on and held out"):
        image_files(path=folder, size=SIZE, held_out_path=inside)


def test_a_file_that_two_folders_or_a_zip_share_is_not_held_out(folder, tmp_path):
    other = fill(tmp_path / "judged", num=3)
    (other / "again.png").hardlink_to(folder / "part1" / "003.png")
    said = "judged/again.png: is to be trained on and held out, as .*part1/003.png"
    with pytest.raises(ValueError, match=said):
        image_files(path=folder, size=SIZE, held_out_path=other)
    path = zipped(folder, tmp_path / "pictures.zip")
    with pytest.raises(ValueError, match="zip/part0/000.png: is to be trained on and"):
        image_files(path=path, size=SIZE, held_out_path=path)


def test_two_folders_of_one_name_with_files_alike_are_told_apart(folder, tmp_path):
    other = tmp_path / "judged" / folder.name
    shutil.copytree(folder, other)
    images = image_files(path=folder, size=SIZE, held_out_path=other)
    assert "10 + 10 images" in images.name and images.name.count(folder.name) == 2


def test_the_name_is_of_what_is_in_the_files_not_of_where_they_are(folder, tmp_path):
    name = image_files(path=folder, size=SIZE).name
    assert "crop 8, 9 + 1 images" in name and str(tmp_path) not in name
    moved = tmp_path / "elsewhere" / folder.name
    shutil.copytree(folder, moved)
    assert image_files(path=moved, size=SIZE).name == name
    (moved / "new.png").write_bytes(encoded(pixels(99)))
    assert image_files(path=moved, size=SIZE).name != name


def test_hidden_files_and_those_of_other_kinds_are_left_alone(folder):
    (folder / ".hidden.png").write_bytes(b"not an image")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "001.png").write_bytes(b"not an image")
    (folder / "notes.txt").write_text("no image")
    (folder / "001.HEIC").write_bytes(b"an image that Pillow does not read")
    images = image_files(path=folder, size=SIZE)
    assert images.training.num + images.held_out.num == 10
    assert "1 .heic not read" in images.source


def test_crop_takes_the_middle_and_box_the_mean_of_the_largest_square(tmp_path):
    wide = fill(tmp_path / "wide", num=2, height=16, width=22)
    given = [pixels(number, 16, 22) for number in range(2)]
    cropped = image_files(path=wide, size=8, held_out_share=0.5)
    made = all_of(cropped.training) + all_of(cropped.held_out)
    assert bytes_of(made) == bytes_of(one[4:12, 7:15] for one in given)

    boxed = image_files(path=wide, size=8, held_out_share=0.5, fit="box")
    made = all_of(boxed.training) + all_of(boxed.held_out)
    means = [one[:, 3:19].reshape(8, 2, 8, 2, 3).mean((1, 3)) for one in given]
    wanted = [np.floor(mean + 0.5).astype(np.uint8) for mean in means]
    assert bytes_of(made) == bytes_of(wanted)


def test_a_jpeg_is_turned_as_its_camera_says(folder):
    upright = np.zeros((SIZE, SIZE, 3), np.uint8)
    upright[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    data = encoded(upright[::-1].copy(), "JPEG", exif=exif, quality=95)
    (folder / "turned.JPG").write_bytes(data)
    images = image_files(path=folder, size=SIZE)
    everything = all_of(images.training) + all_of(images.held_out)
    assert len(everything) == 11
    closest = min(np.abs(one.astype(int) - upright).max() for one in everything)
    assert closest < 40


def test_palettes_and_opaque_alpha_are_taken_for_the_colours_they_show(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    red = np.zeros((SIZE, SIZE, 3), np.uint8)
    red[..., 0] = 255
    (folder / "a.png").write_bytes(encoded(red, mode="P"))
    (folder / "b.png").write_bytes(encoded(red, mode="RGBA"))
    images = image_files(path=folder, size=SIZE)
    for one in all_of(images.training) + all_of(images.held_out):
        np.testing.assert_array_equal(one, red)


def test_the_cache_keeps_what_fits_and_gives_the_same_images(folder):
    opened = []

    def make(number):
        opened.append(number)
        return pixels(number)

    one = SIZE * SIZE * 3
    cache = Cache(2 * one)
    for _ in range(3):
        for number in range(3):
            found = cache.get(number, lambda number=number: make(number))
            np.testing.assert_array_equal(found, pixels(number))
            assert not found.flags.writeable
    assert opened == [0, 1, 2, 2, 2]
    for cache_bytes in (0, 3 * one, 2**20):
        images = image_files(path=folder, size=SIZE, cache_bytes=cache_bytes)
        batch = training_batches(images, seed=1, batch_size=4)
        if not cache_bytes:
            wanted = batch(5)["image"]
        for number in (5, 1, 5):
            made = batch(number)["image"]
        np.testing.assert_array_equal(made, wanted)


def grey(number=0, dtype=np.uint8):
    random = np.random.default_rng(number)
    return random.integers(np.iinfo(dtype).max + 1, size=(SIZE, SIZE)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_images_are_refused_by_name_and_converted_when_asked(folder, dtype):
    given = grey(dtype=dtype)
    (folder / "grey.png").write_bytes(encoded(given))
    with pytest.raises(ValueError, match=r"pictures/grey.png: a grey image, wanted"):
        image_files(path=folder, size=SIZE)
    images = image_files(path=folder, size=SIZE, convert_grey=True)
    eight_bits = (given >> (8 * (given.itemsize - 1))).astype(np.uint8)
    wanted = np.repeat(eight_bits[..., np.newaxis], 3, axis=-1)
    found = all_of(images.training) + all_of(images.held_out)
    assert len(found) == 11 and wanted.tobytes() in bytes_of(found)


def test_a_grey_jpeg_with_few_colours_is_grey_too(folder):
    (folder / "grey.jpg").write_bytes(encoded(grey(), "JPEG"))
    with pytest.raises(ValueError, match="grey.jpg: a grey image"):
        image_files(path=folder, size=SIZE)


def test_corrupt_files_are_named_and_skipped_and_counted_only_when_asked(folder):
    whole = encoded(pixels(1), compress_level=0)
    (folder / "empty.png").write_bytes(b"")
    with pytest.raises(CorruptFileError, match="empty.png: no PNG, JPEG or WebP, or"):
        image_files(path=folder, size=SIZE)
    (folder / "text.jpg").write_text("no image at all")
    (folder / "flipped.png").write_bytes(whole[:90] + b"\xff\0" + whole[92:])
    images = image_files(path=folder, size=SIZE, skip_corrupt=True)
    assert images.training.num + images.held_out.num == 10
    assert "3 corrupt skipped" in images.name and "3 corrupt skipped" in images.source
    found = all_of(images.training) + all_of(images.held_out)
    assert bytes_of(found) == bytes_of(pixels(number) for number in range(10))


@pytest.mark.parametrize(
    ("form", "name"), [("PNG", "cut.png"), ("JPEG", "cut.jpg"), ("WEBP", "cut.webp")]
)
def test_a_file_that_ends_too_soon_is_named_when_the_folder_is_opened(
    folder, form, name
):
    whole = encoded(pixels(1), form)
    (folder / name).write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(CorruptFileError, match=f"pictures/{name}: (damaged|no PNG)"):
        image_files(path=folder, size=SIZE)


def test_a_png_with_a_wrong_checksum_is_named_when_the_folder_is_opened(folder):
    held = bytearray(encoded(pixels(1)))
    held[held.index(b"IDAT") + 30] ^= 1
    (folder / "flipped.png").write_bytes(held)
    with pytest.raises(CorruptFileError, match="flipped.png: damaged .the checksum of"):
        image_files(path=folder, size=SIZE)


def test_files_that_were_left_out_are_listed(folder):
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no image at all")
    images = image_files(path=folder, size=SIZE, skip_corrupt=True)
    assert images.left_out == (f"{folder}/empty.png", f"{folder}/text.jpg")


@pytest.mark.parametrize("skip_corrupt", [False, True])
def test_what_was_found_of_a_file_is_remembered_until_it_changes(
    folder, tmp_path, monkeypatch, skip_corrupt
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(examined, "LEAST_REMEMBERED", 5)
    given = {"path": folder, "size": SIZE, "skip_corrupt": skip_corrupt}
    image_files(**given)
    looked = []
    read = image_decoding.Image.open

    def counted(*args, **more):
        looked.append(args)
        return read(*args, **more)

    monkeypatch.setattr(image_decoding.Image, "open", counted)
    image_files(**given)
    assert not looked
    (folder / "part1" / "003.png").write_bytes(b"")
    if skip_corrupt:
        assert image_files(**given).left_out == (f"{folder}/part1/003.png",)
        assert image_files(**given).training.num == 8  # remembered as corrupt
    else:
        with pytest.raises(CorruptFileError, match="003.png: no PNG"):
            image_files(**given)
    assert len(looked) == 1


def test_damage_in_a_zip_is_of_the_zip_or_of_the_file_in_it(folder, tmp_path):
    path = zipped(folder, tmp_path / "pictures.zip")
    held = bytearray(path.read_bytes())
    held[held.index(b"IDAT") + 8] ^= 255
    path.write_bytes(held)
    with pytest.raises(CorruptFileError, match=r"zip/part0/000.png: damaged \(Bad CR"):
        image_files(path=path, size=SIZE)
    images = image_files(path=path, size=SIZE, skip_corrupt=True)
    assert "1 corrupt skipped" in images.name
    path.write_bytes(held[: len(held) // 2])
    with pytest.raises(ValueError, match="pictures.zip: wanted a folder or a zip"):
        image_files(path=path, size=SIZE)


def test_all_corrupt_is_an_error_even_where_they_are_skipped(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="all 1 images are corrupt"):
        image_files(path=tmp_path, size=SIZE, skip_corrupt=True)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (encoded(pixels(0, 7, 30)), "odd.png: 7 x 30 pixels, wanted at least 8 x 8"),
        (encoded(pixels(0), "GIF"), "odd.png: no PNG, JPEG or WebP"),
    ],
)
def test_images_too_small_or_of_another_kind_are_named(folder, data, said):
    (folder / "odd.png").write_bytes(data)
    with pytest.raises(ValueError, match=said):
        image_files(path=folder, size=SIZE)


@pytest.mark.parametrize("skip_corrupt", [False, True])
def test_a_transparent_image_is_named_before_any_is_trained_on(folder, skip_corrupt):
    clear = np.zeros((SIZE, SIZE, 4), np.uint8)
    (folder / "clear.png").write_bytes(encoded(clear))
    with pytest.raises(ValueError, match="clear.png: is transparent, wanted opaque"):
        image_files(path=folder, size=SIZE, skip_corrupt=skip_corrupt)


def test_a_palette_with_a_colour_to_see_through_is_transparent(folder):
    image = Image.fromarray(pixels(0)).convert("P")
    image.save(folder / "clear.png", transparency=image.getpixel((0, 0)))
    with pytest.raises(ValueError, match="clear.png: is transparent, wanted opaque"):
        image_files(path=folder, size=SIZE)


def test_places_that_hold_no_images_say_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="lost: no such file or folder"):
        image_files(path=tmp_path / "lost", size=SIZE)
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match="no PNG, JPEG or WebP among its 1 files"):
        image_files(path=tmp_path, size=SIZE)
    with zipfile.ZipFile(tmp_path / "notes.zip", "w") as archive:
        archive.writestr("folder/notes.txt", "no image")
    with pytest.raises(ValueError, match="notes.zip: no PNG, JPEG or WebP among its 1"):
        image_files(path=tmp_path / "notes.zip", size=SIZE)
    with pytest.raises(ValueError, match="notes.txt: wanted a folder or a zip"):
        image_files(path=tmp_path / "notes.txt", size=SIZE)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": 0}, "size: given 0"),
        ({"fit": "stretch"}, "fit: given 'stretch', wanted one of"),
        ({"held_out_share": 0.0}, "held_out_share: given 0.0"),
        ({"held_out_share": 0.99}, "10 images, wanted at least 2"),
        ({"num_threads": 0}, "num_threads: given 0, wanted 1 or more"),
        ({"cache_bytes": -1}, "cache_bytes: given -1, wanted 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(folder, given, said):
    with pytest.raises(ValueError, match=said):
        image_files(**({"path": folder, "size": SIZE} | given))


# Arrays.


@pytest.fixture
def npz(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "images.npz", **arrays)
        return tmp_path / "images.npz"

    return save


def several(num=10, **more):
    return np.stack([pixels(number, **more) for number in range(num)])


def test_an_array_is_split_as_a_folder_is(npz):
    path = npz(images=several())
    images = image_array(path=path, size=SIZE, held_out_share=0.2)
    assert (images.training.num, images.held_out.num) == (8, 2)
    found = all_of(images.training) + all_of(images.held_out)
    assert bytes_of(found) == bytes_of(several())


def test_arrays_to_train_on_and_held_out_may_be_two(npz, tmp_path):
    path = npz(train=several(5), test=several(3, height=12, width=10))
    given = {"path": path, "size": SIZE, "array": "train", "held_out_array": "test"}
    images = image_array(**given)
    np.testing.assert_array_equal(all_of(images.training), several(5))
    wanted = several(3, height=12, width=10)[:, 2:10, 1:9]
    np.testing.assert_array_equal(all_of(images.held_out), wanted)
    shutil.copy(path, tmp_path / "other.npz")
    again = image_array(**(given | {"held_out_path": tmp_path / "other.npz"}))
    np.testing.assert_array_equal(all_of(again.held_out), wanted)


def test_an_array_is_not_held_out_of_itself_nor_of_a_copy(npz, tmp_path):
    path = npz(a=several())
    shutil.copy(path, tmp_path / "copy.npz")
    for more in (
        {"held_out_array": "a"},
        {"held_out_path": path},
        {"held_out_path": tmp_path / "copy.npz"},
        {"array": "a", "held_out_path": path, "held_out_array": "a"},
    ):
        with pytest.raises(ValueError, match="npz: 'a': is to be trained on and held"):
            image_array(path=path, size=SIZE, **more)


def test_the_name_of_an_array_is_of_its_content(npz):
    one, same, other = (
        image_array(path=npz(images=several(num)), size=SIZE).name
        for num in (10, 10, 11)
    )
    assert one == same != other


@pytest.mark.parametrize("shape", [(4, SIZE, SIZE), (4, SIZE, SIZE, 1)])
def test_a_grey_array_is_refused_and_converted_when_asked(npz, shape):
    given = np.stack([grey(number) for number in range(4)])
    path = npz(images=given.reshape(shape))
    with pytest.raises(ValueError, match="npz: images: a grey image, wanted colour"):
        image_array(path=path, size=SIZE)
    images = image_array(path=path, size=SIZE, convert_grey=True)
    found = all_of(images.training) + all_of(images.held_out)
    assert bytes_of(found) == bytes_of(np.repeat(given[..., None], 3, axis=-1))


@pytest.mark.parametrize(
    ("arrays", "name", "said"),
    [
        ({"a": several().astype(np.float32)}, None, "a is float32, wanted uint8"),
        ({"a": np.array([{}])}, None, "a is object, wanted uint8"),
        ({"a": several()[..., :2]}, None, r"a has shape \(10, 8, 8, 2\), wanted \["),
        ({"a": several()[0, 0]}, None, r"a has shape \(8, 3\), wanted \["),
        ({"a": several()[:0]}, None, r"a has shape .* wanted at least one image"),
        ({"a": several(1)}, None, "1 images, wanted at least 2"),
        ({"a": several(height=5)}, None, "a: 5 x 8 pixels, wanted at least 8 x 8"),
        ({"a": several(), "b": several()}, None, r"holds \['a', 'b'\], wanted one of"),
        ({"a": several()}, "c", r"holds \['a'\], wanted 'c'"),
    ],
)
def test_arrays_of_another_kind_are_named(npz, arrays, name, said):
    with pytest.raises(ValueError, match=rf"images.npz: {said}"):
        image_array(path=npz(**arrays), size=SIZE, array=name)


def test_files_that_are_no_npz_or_damaged_are_named(npz, tmp_path):
    with pytest.raises(FileNotFoundError, match="lost.npz: no such file"):
        image_array(path=tmp_path / "lost.npz", size=SIZE)
    (tmp_path / "text.npz").write_text("no npz")
    with pytest.raises(ValueError, match="text.npz: no npz, or a damaged one"):
        image_array(path=tmp_path / "text.npz", size=SIZE)
    path = npz(images=several())
    with pytest.raises(ValueError, match="is to be trained on and held out"):
        image_array(path=path, size=SIZE, held_out_path=path)
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 255
    path.write_bytes(held)
    with pytest.raises(ValueError, match="images.npz: a damaged npz"):
        image_array(path=path, size=SIZE)
