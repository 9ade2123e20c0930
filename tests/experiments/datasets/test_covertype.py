"""The covertype data, from the compact file's bytes to the paper's problem."""

import hashlib
import re
import shutil
import types
import zipfile
from decimal import Decimal

import numpy as np
import pytest

from experiments.datasets import covertype, load_covertype, make_covertype

CLASS_COUNTS = [211840, 283301, 35754, 2747, 9493, 17367, 20510]


@pytest.fixture(scope="module")
def arrays():
    return covertype.load_compact()


def raw_of(arrays):
    """The data as in the UCI file: features [rows, 54] int16, cover_type int32."""
    rows = np.arange(covertype.ROWS)
    first_wilderness = len(covertype.CONTINUOUS)
    first_soil = first_wilderness + covertype.NUM_WILDERNESS
    features = np.zeros([covertype.ROWS, covertype.NUM_FEATURES], np.int16)
    features[:, :first_wilderness] = arrays["continuous"].T
    features[rows, first_wilderness + arrays["wilderness"]] = 1
    features[rows, first_soil + arrays["soil"]] = 1
    return features, arrays["cover_type"].astype(np.int32)


@pytest.fixture(scope="module")
def raw(arrays):
    return raw_of(arrays)


@pytest.fixture(scope="module")
def problem():
    return load_covertype()


def write_npz(path, arrays, **changes):
    held = {**arrays, "columns": np.array(covertype.COLUMNS), **changes}
    np.savez(path, **{name: a for name, a in held.items() if a is not None})
    return path


# The committed file


def test_the_uci_csv_rebuilt_from_the_committed_file_has_the_published_sha256(arrays):
    assert make_covertype.csv_sha256(arrays) == (
        "0a9371cef7c964b5475d6053cc3e0894a5aa6f65ad1ed3ecb01c45aa96217945",
        75_169_317,
    )


def test_the_notice_names_the_committed_file_its_doi_and_its_licence():
    notice = covertype.COMPACT_FILE.with_name("COVERTYPE.md").read_text()
    file_bytes = covertype.COMPACT_FILE.read_bytes()
    for wanted in (
        hashlib.sha256(file_bytes).hexdigest(),
        f"{len(file_bytes):,}",
        covertype.CONTENT_SHA256,
        make_covertype.CSV_SHA256,
        "10.24432/C50K5N",
        "CC BY 4.0",
        "Copyright Jock A. Blackard and Colorado State University",
    ):
        assert wanted in notice


def test_raw_data_are_the_54_columns_and_the_cover_type(raw):
    features, cover_type = raw
    assert features.shape == (581_012, 54)
    assert cover_type.shape == (581_012,)
    assert np.bincount(cover_type)[1:].tolist() == CLASS_COUNTS
    # The first line of the csv.
    first = np.zeros(54, int)
    first[:10] = [2596, 51, 3, 258, 0, 510, 221, 232, 148, 6279]
    first[[10, 14 + 28]] = 1
    np.testing.assert_array_equal(features[0], first)
    assert cover_type[0] == 5
    assert np.all(features[:, 10:14].sum(axis=1) == 1)
    assert np.all(features[:, 14:].sum(axis=1) == 1)


# The problem


def test_the_problem_is_the_papers(problem):
    assert problem.name == "covertype"
    assert "10.24432/C50K5N" in problem.source
    assert problem.features.shape == (581_012, 55)
    assert problem.features.dtype == np.float32
    assert problem.features.flags.c_contiguous
    assert problem.labels.dtype == np.int32
    assert set(np.unique(problem.labels)) == {0, 1}
    assert problem.labels.sum() == 211_840
    assert problem.start.dtype == np.float32
    assert np.all(problem.features[:, -1] == 1)


def test_columns_have_mean_0_and_population_std_1(problem):
    for i in range(54):
        column = problem.features[:, i].astype(np.float64)
        assert abs(column.mean()) < 1e-7
        assert abs(column.std(ddof=0) - 1) < 1e-7  # ddof 1 would be off by 8.6e-7


def test_columns_are_the_raw_ones_standardised_in_float64(problem, raw):
    features, _ = raw
    for i in range(54):
        column = features[:, i].astype(np.float64)
        np.testing.assert_allclose(
            problem.features[:, i], (column - column.mean()) / column.std(), rtol=1e-6
        )


def test_the_other_labelling_takes_the_most_frequent_class_and_starts_at_zero(raw):
    _, cover_type = raw
    problem = load_covertype(labelling="most_frequent", num_rows=5_000)
    everything = load_covertype(labelling="most_frequent")
    assert everything.labels.sum() == 283_301 == np.bincount(cover_type).max()
    np.testing.assert_array_equal(everything.labels, cover_type == 2)
    assert problem.start.shape == (55,)
    assert not problem.start.any()


def test_an_unknown_labelling_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="'majority'.*cover_type_1.*most_frequent"):
        load_covertype(labelling="majority")


def test_the_warm_start_is_the_published_55_numbers(problem):
    numbers = [Decimal(repr(value)) for value in covertype.WARM_START]
    assert len(numbers) == 55
    assert numbers[0] == Decimal("2.03420663")
    assert numbers[-1] == Decimal("-1.20889175")
    # Sums over the published text, plain, of magnitudes, and weighted by position.
    assert sum(numbers) == Decimal("-1.529779469805")
    assert sum(map(abs, numbers)) == Decimal("9.296224349035")
    weighted = sum(i * value for i, value in enumerate(numbers, start=1))
    assert weighted == Decimal("-103.369836977940")
    np.testing.assert_array_equal(
        problem.start, np.array(covertype.WARM_START, np.float32)
    )


def test_the_warm_start_fits_cover_type_1_and_not_the_most_frequent_class(problem, raw):
    _, cover_type = raw
    logits = (problem.features @ problem.start).astype(np.float64)

    def log_likelihood(labels):
        return np.sum(labels * logits - np.logaddexp(0, logits))

    at_zero = -len(logits) * np.log(2)
    assert log_likelihood(problem.labels) > 0.7 * at_zero
    assert log_likelihood(cover_type == 2) < 1.5 * at_zero


# Subsets


def test_a_subset_is_rows_of_the_whole_in_their_order_and_none_twice(problem):
    subset = load_covertype(num_rows=60, seed=3)
    assert subset.features.shape == (60, 55)
    assert "60 of 581012 rows" in subset.source
    found = []
    for row, label in zip(subset.features, subset.labels, strict=True):
        near = np.flatnonzero(problem.features[:, 0] == row[0])
        same = near[(problem.features[near] == row).all(axis=1)]
        assert len(same) == 1
        assert problem.labels[same[0]] == label
        found.append(same[0])
    assert np.all(np.diff(found) > 0)
    np.testing.assert_array_equal(subset.start, problem.start)


def test_a_subset_of_all_rows_but_one_leaves_out_one_row(problem):
    subset = load_covertype(num_rows=581_011)
    differ = (subset.features != problem.features[:-1]).any(axis=1)
    left_out = int(np.argmax(differ)) if differ.any() else 581_011
    np.testing.assert_array_equal(
        subset.features[left_out:], problem.features[left_out + 1 :]
    )


def test_one_seed_gives_one_subset_and_another_seed_another():
    first, again, other = (
        load_covertype(num_rows=1_000, seed=seed) for seed in (7, 7, 8)
    )
    np.testing.assert_array_equal(first.features, again.features)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert not np.array_equal(first.features, other.features)


def test_a_subset_is_drawn_from_all_over_the_data(problem):
    subset = load_covertype(num_rows=20_000)
    share = problem.labels.mean()
    four_sigma = 4 * np.sqrt(share * (1 - share) / 20_000)
    assert abs(subset.labels.mean() - share) < four_sigma
    assert np.all(np.abs(subset.features[:, :10].mean(axis=0)) < 4 / np.sqrt(20_000))


def test_asking_for_every_row_gives_the_whole(problem):
    everything = load_covertype(num_rows=581_012, seed=5)
    np.testing.assert_array_equal(everything.features, problem.features)
    np.testing.assert_array_equal(everything.labels, problem.labels)
    assert everything.source == problem.source


@pytest.mark.parametrize("num_rows", [0, -1, 581_013, 2e4, True, "500"])
def test_a_num_rows_out_of_range_is_refused(num_rows):
    with pytest.raises(ValueError, match=f"num_rows: given {num_rows!r}.*581012"):
        load_covertype(num_rows=num_rows)


# Files given by path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_same_values_packed_in_another_way_load_alike(tmp_path, arrays, save, raw):
    path = tmp_path / "repacked.npz"
    held = {name: np.asfortranarray(array) for name, array in arrays.items()}
    save(path, columns=np.array(covertype.COLUMNS), **held)
    features, cover_type = raw_of(covertype.load_compact(str(path)))
    np.testing.assert_array_equal(features, raw[0])
    np.testing.assert_array_equal(cover_type, raw[1])


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "nowhere.npz"
    with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
        load_covertype(path=path)
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
        load_covertype(path=tmp_path)


def pickled(path, arrays):
    write_npz(path, arrays, soil=np.array([{"a": 1}], dtype=object))


def one_byte_flipped(path, arrays):
    data = bytearray(covertype.COMPACT_FILE.read_bytes())
    data[1_000_000] ^= 0xFF
    path.write_bytes(data)


def one_byte_flipped_deflate(path, arrays):
    np.savez_compressed(path, soil=arrays["soil"])
    data = bytearray(path.read_bytes())
    data[5_000] ^= 0xFF
    path.write_bytes(data)


def packed_by_an_unknown_method(path, arrays):
    data = bytearray(covertype.COMPACT_FILE.read_bytes())
    entry = data.index(b"PK\x01\x02")  # the first of the archive's directory
    data[entry + 10 : entry + 12] = b"\x63\x00"  # its method
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path, arrays: path.write_bytes(b""), r"truncated one \(0 bytes\)"),
        (lambda path, arrays: path.write_text("2596,51,3\n"), "no npz"),
        (
            lambda path, arrays: path.write_bytes(
                covertype.COMPACT_FILE.read_bytes()[:2_000_000]
            ),
            r"truncated one \(2000000 bytes\)",
        ),
        (
            lambda path, arrays: path.write_bytes(
                covertype.COMPACT_FILE.read_bytes()[1_000_000:]
            ),
            "cannot be read as an npz",
        ),
        (one_byte_flipped, "cannot be read as an npz"),
        (one_byte_flipped_deflate, "cannot be read as an npz"),
        (pickled, "cannot be read as an npz.*allow_pickle"),
        (packed_by_an_unknown_method, "cannot be read as an npz.*not supported"),
        (lambda path, arrays: zipfile.ZipFile(path, "w").close(), r"holds \[\]"),
    ],
)
def test_what_is_no_whole_npz_is_refused(tmp_path, arrays, damage, message):
    path = tmp_path / "bad.npz"
    damage(path, arrays)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{message}"):
        load_covertype(path=path)


def with_value(array, value):
    changed = array.copy()
    changed[..., 1234] = value
    return changed


NAMES = list(covertype.COLUMNS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a: {"soil": None},
            "holds .*'columns', 'continuous', .*wanted .*'soil'",
        ),
        (lambda a: {"more": np.zeros(3)}, "holds .*'more'"),
        (
            lambda a: {"columns": np.array(NAMES[1:] + NAMES[:1])},
            r"columns\[0\] is 'Aspect', wanted 'Elevation'",
        ),
        (lambda a: {"columns": np.array(NAMES[:-1])}, r"\(54,\), wanted \(55,\)"),
        (lambda a: {"columns": np.arange(55)}, r"columns\[0\] is 0, wanted 'Elev"),
        (
            lambda a: {"continuous": with_value(a["continuous"].astype(float), np.nan)},
            r"continuous is float64, wanted int16 \(10 of its values are not finite",
        ),
        (
            lambda a: {"continuous": a["continuous"].astype(">i2")},
            "continuous is >i2, wanted int16",
        ),
        (
            lambda a: {"continuous": np.ascontiguousarray(a["continuous"].T)},
            r"continuous has shape \(581012, 10\), wanted \(10, 581012\)",
        ),
        (
            lambda a: {"wilderness": a["wilderness"][:-1]},
            r"wilderness has shape \(581011,\), wanted \(581012,\)",
        ),
        (lambda a: {"wilderness": with_value(a["wilderness"], 4)}, "0 to 4, .*0 to 3"),
        (lambda a: {"soil": with_value(a["soil"], 40)}, "soil .*0 to 40, .*0 to 39"),
        (lambda a: {"cover_type": with_value(a["cover_type"], 0)}, "0 to 7, .*1 to 7"),
        (lambda a: {"cover_type": with_value(a["cover_type"], 8)}, "1 to 8, .*1 to 7"),
        (
            lambda a: {"continuous": with_value(a["continuous"], 0)},
            "sha256 of the values is [0-9a-f]{64}, wanted " + covertype.CONTENT_SHA256,
        ),
        (
            lambda a: {"cover_type": a["cover_type"][::-1].copy()},
            "sha256 of the values is [0-9a-f]{64}, wanted " + covertype.CONTENT_SHA256,
        ),
    ],
)
def test_an_npz_that_holds_something_else_is_refused(tmp_path, arrays, change, message):
    path = write_npz(tmp_path / "bad.npz", arrays, **change(arrays))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{message}"):
        load_covertype(path=path)


def test_an_array_stored_as_bare_bytes_is_refused(tmp_path, arrays):
    path = write_npz(tmp_path / "bad.npz", arrays, soil=None)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("soil", arrays["soil"].tobytes())
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: soil is .*uint8"):
        load_covertype(path=path)


# The built-in file


def test_the_built_in_file_must_have_the_pinned_sha256(tmp_path, monkeypatch):
    file = tmp_path / "covertype.npz"
    shutil.copy(covertype.COMPACT_FILE, file)
    monkeypatch.setattr(covertype, "COMPACT_FILE", file)
    assert load_covertype(num_rows=10).rows == 10
    with file.open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(ValueError) as raised:
        load_covertype()
    for wanted in (str(file), covertype.COMPACT_FILE_SHA256, "make_covertype"):
        assert wanted in str(raised.value)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(str(file))):
        load_covertype()


# Making it


def test_compact_is_the_inverse_of_load_raw(arrays, raw):
    features, cover_type = raw
    made = make_covertype.compact(features, cover_type)
    assert made.keys() == arrays.keys()
    for name, array in arrays.items():
        assert made[name].dtype == array.dtype
        np.testing.assert_array_equal(made[name], array)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, np.nan, "Elevation: row 2 is nan, wanted a whole number"),
        (1, np.inf, "Aspect: row 2 is inf"),
        (4, 0.5, "Vertical_Distance_To_Hydrology: row 2 is 0.5"),
        (9, 40_000, "Points: row 2 is 40000.0, wanted .* from -32768 to 32767"),
        (10, 2, "wilderness: row 2 is .*wanted a single 1"),
        (13, np.nan, "wilderness: row 2"),
        (14, 1, "soil: row 2 is .*wanted a single 1"),
        ("target", 8, "target: row 2 is 8.0, wanted a whole number from 1 to 7"),
        ("target", 0, "target: row 2 is 0.0"),
    ],
)
def test_compact_refuses_what_it_could_not_give_back(raw, column, value, message):
    data, target = (array[:5].astype(np.float64) for array in raw)
    make_covertype.compact(data, target)
    if column == "target":
        target[2] = value
    else:
        data[2, column] = value
    with pytest.raises(ValueError, match=message):
        make_covertype.compact(data, target)


def test_compact_refuses_a_group_without_a_one(raw):
    data, target = (array[:5].copy() for array in raw)
    data[3, 14:] = 0
    with pytest.raises(ValueError, match="soil: row 3"):
        make_covertype.compact(data, target)


def test_compact_refuses_other_shapes(raw):
    data, target = (array[:5] for array in raw)
    with pytest.raises(ValueError, match=r"given shape \(5, 53\), wanted \[rows, 54\]"):
        make_covertype.compact(data[:, :53], target)
    with pytest.raises(ValueError, match=r"target: given shape \(4,\), wanted \(5,\)"):
        make_covertype.compact(data, target[:4])


def test_csv_chunks_join_to_the_plain_csv(arrays, raw, monkeypatch):
    monkeypatch.setattr(make_covertype, "CSV_CHUNK_ROWS", 7)
    depth = raw[0][:, covertype.COLUMNS.index("Vertical_Distance_To_Hydrology")]
    rows = np.concatenate([np.arange(20), np.flatnonzero(depth < 0)[:10]])
    few = {name: array[..., rows] for name, array in arrays.items()}
    lines = np.column_stack([raw[0][rows], raw[1][rows]]).tolist()
    wanted = "".join(",".join(map(str, line)) + "\n" for line in lines)
    chunks = list(make_covertype.csv_chunks(few))
    assert len(chunks) == 5
    assert b"".join(chunks).decode() == wanted


def test_writing_is_reproducible_and_leaves_nothing_beside(tmp_path, arrays):
    few = {name: array[..., :1_000] for name, array in arrays.items()}
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    make_covertype.write_compact(few, first)
    make_covertype.write_compact(few, second)
    assert first.read_bytes() == second.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"first.npz", "second.npz"}
    with np.load(first, allow_pickle=False) as held:
        assert tuple(held["columns"]) == covertype.COLUMNS
        np.testing.assert_array_equal(held["continuous"], few["continuous"])


def test_a_write_that_fails_leaves_the_old_file_as_it_was(tmp_path, arrays):
    path = tmp_path / "covertype.npz"
    path.write_bytes(b"old")
    bad = {"soil": arrays["soil"][:10], "cover_type": np.array([object()])}
    with pytest.raises(ValueError, match="Object arrays"):
        make_covertype.write_compact(bad, path)
    assert [file.name for file in tmp_path.iterdir()] == ["covertype.npz"]
    assert path.read_bytes() == b"old"


@pytest.fixture
def fetched(raw, monkeypatch):
    """What the script fetches: float64 data and int32 target, as scikit-learn gives."""
    from sklearn import datasets

    bunch = types.SimpleNamespace(data=raw[0].astype(np.float64), target=raw[1].copy())
    monkeypatch.setattr(datasets, "fetch_covtype", lambda: bunch)
    return bunch


@pytest.mark.slow
def test_the_script_makes_a_file_that_loads(tmp_path, fetched, capsys):
    out = tmp_path / "made.npz"
    make_covertype.main(["--out", str(out)])
    found = hashlib.sha256(out.read_bytes()).hexdigest()
    printed = capsys.readouterr().out
    assert f"{out}: {out.stat().st_size} bytes, sha256 {found}" in printed
    pinned = found == covertype.COMPACT_FILE_SHA256
    assert ("another LZMA library" in printed) is not pinned
    assert load_covertype(path=out).labels.sum() == 211_840


@pytest.mark.slow  # writes 75 MB of text
def test_the_script_writes_nothing_when_the_data_are_not_ucis(tmp_path, fetched):
    fetched.data[400_000, 0] += 1
    with pytest.raises(ValueError, match="75169317.*not the UCI file"):
        make_covertype.main(["--out", str(tmp_path / "made.npz")])
    assert not list(tmp_path.iterdir())


def test_the_script_refuses_a_missing_folder_before_it_fetches(tmp_path, monkeypatch):
    from sklearn import datasets

    monkeypatch.setattr(datasets, "fetch_covtype", pytest.fail)
    with pytest.raises(FileNotFoundError, match="--out: no folder"):
        make_covertype.main(["--out", str(tmp_path / "missing" / "made.npz")])
