"""Data by name are read from JSON, npz and CSV, or refused in one line."""

import json
import zipfile

import numpy as np
import pytest

from experiments.datasets.named_arrays import named_arrays

STAN = {
    "J": 8,
    "scale": 2.5,
    "y": [28, 8, -3],
    "x": [[1, 2.5], [3, 4], [5, 6]],
    "missing": ["NaN", "Inf", "-Inf", 1],
    "nothing": [],
}


def check(data):
    assert data["J"] == 8 and type(data["J"]) is int and data["scale"] == 2.5
    assert data["y"].dtype == np.int64 and data["y"].tolist() == [28, 8, -3]
    assert data["x"].shape == (3, 2) and data["x"][1].tolist() == [3, 4]
    np.testing.assert_array_equal(data["missing"], [np.nan, np.inf, -np.inf, 1])
    assert data["nothing"].shape == (0,)


def test_json_is_read_as_stan_writes_it(tmp_path):
    (tmp_path / "d.json").write_text(json.dumps(STAN))
    check(named_arrays(str(tmp_path / "d.json")))
    with zipfile.ZipFile(tmp_path / "d.json.zip", "w") as archive:
        archive.writestr("d.json", json.dumps(STAN))
    check(named_arrays(str(tmp_path / "d.json.zip")))


def test_npz_is_read(tmp_path):
    np.savez(tmp_path / "d.npz", J=8, y=np.array([1.0, 2.0], np.float32))
    data = named_arrays(str(tmp_path / "d.npz"))
    assert type(data["J"]) is int and data["y"].dtype == np.float32


def test_csv_is_read_by_column(tmp_path):
    (tmp_path / "d.csv").write_text("y, sigma,who\n28,15,A\n8,,B\n-3,16.5,C\n")
    data = named_arrays(str(tmp_path / "d.csv"))
    assert data["y"].dtype == np.int64 and data["who"].tolist() == ["A", "B", "C"]
    np.testing.assert_array_equal(data["sigma"], [15, np.nan, 16.5])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.json", "{", "d.json: given no JSON"),
        ("d.json", "[1]", "given a JSON list, wanted an object"),
        ("d.json", '{"y": [[1, 2], [3]]}', "y: given lists of several lengths"),
        ("d.json", '{"y": [[1, 2], 3]}', "y: given a number among lists"),
        ("d.json", '{"y": [1, [2]]}', "y: given a list among numbers"),
        ("d.json", '{"y": [1, null]}', "y: given None, wanted a number"),
        ("d.json", '{"y": "text"}', "y: given 'text', wanted a number"),
        ("d.json", '{"y": true}', "y: given True, wanted a number"),
        ("d.json.zip", "no zip", "d.json.zip: given a damaged zip"),
        ("d.npz", "no npz", "d.npz: given a damaged npz"),
        ("d.csv", "y,y\n1,2\n", "wanted a different one for each column"),
        ("d.csv", "y,x\n1,2\n3\n", "row 2: given 1 cells, wanted 2"),
        ("d.csv", "y\n", "given no rows"),
        ("d.txt", "", "wanted it to end in"),
    ],
)
def test_what_is_not_of_this_form_is_refused_in_one_line(
    tmp_path, name, content, message
):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        named_arrays(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"absent.json: given no such file"):
        named_arrays(str(tmp_path / "absent.json"))
