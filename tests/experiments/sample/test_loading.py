"""A program in a file gets its data by name, or one line says what is wrong."""

import json

import numpy as np
import pytest

from experiments.sample import loading

MODELS = """
import numpy as np
import tensorflow as tf
import ppl_core as ppl
from beside import NOISE

def line(x, noise=NOISE):
    slope = ppl.Normal(0.0, 1.0, name="slope")
    return ppl.Normal(slope * x, noise, name="y")

def funnel():
    v = ppl.Normal(0.0, 3.0, name="v")
    ppl.Normal(0.0, tf.exp(v / 2), sample_shape=9, name="x")

def nothing(x):
    return x

def discrete(x):
    ppl.Normal(ppl.Poisson(3.0, name="k"), 1.0, name="y")

def misshapen(x):
    slope = ppl.Normal(0.0, 1.0, name="slope")
    ppl.Normal(np.zeros(3).nothing, 1.0, name="y")

def flat():
    ppl.factor(-ppl.Flat(name="mu") ** 2, "penalty")

number = 3
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "beside.py").write_text("NOISE = 0.5\n")
    return tmp_path


def load(name, data, dtype="float64"):
    if data is not None:
        with open("d.json", "w") as file:
            json.dump(data, file)
    return loading.load(
        f"models.py:{name}", None if data is None else "d.json", dtype=dtype
    )


def test_data_are_arguments_and_observed_variables_by_name(models):
    posterior = load("line", {"x": [1, 2], "y": [2.0, 4.5]}, dtype="float32")
    assert posterior.names == ("slope",) and posterior.dtype.name == "float32"
    source = posterior.source
    assert source.kwargs.keys() == {"x"} and source.observed.keys() == {"y"}
    np.testing.assert_array_equal(source.observed_data()["y"], [2.0, 4.5])


def test_a_program_without_data_is_itself(models):
    assert load("funnel", None).dim == 10


def test_a_file_is_imported_once_and_again_when_it_changes(models):
    first = loading.load_program("models.py:line")
    assert loading.load_program("models.py:line") is first
    (models / "models.py").write_text(MODELS.replace("def line", "def curve"))
    assert loading.load_program("models.py:curve").__name__ == "curve"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "line",
            {"x": [1, 2], "y": [1]},
            r"Normal\(name='y'\): given a value of",
        ),
        (
            "line",
            {"x": [1, 2], "y": ["NaN", 1]},
            r"Normal\(name='y'\): given nan",
        ),
        (
            "line",
            {"x": [1, 2], "yy": [1, 2]},
            r"d.json: given \['yy'\], wanted parameters \['x', 'noise'\] or variables "
            r"\['slope', 'y'\] of line; did you mean 'y'\?",
        ),
        (
            "line",
            {"x": [1, 2], "y": [1, 2], "rows": 2},
            r"d.json: given \['rows'\], wanted .*leave out of the data or make a par",
        ),
        (
            "line",
            {"y": [1, 2]},
            r"d.json: given \['y'\], wanted \['x'\] too, which",
        ),
        ("line", {"x": [1, 2]}, r"wanted data of a variable too: of \['slope', 'y'\]"),
        ("line", None, r"line: given no data, wanted \['x'\] too"),
        ("line", {"x": 1, "y": 2, "slope": 0}, "line: given no latent variable"),
        ("nothing", {"x": 1, "y": 2}, "nothing: given no random variable"),
        ("discrete", {"x": 1, "y": 2}, "discrete: Poisson.*observe it, or sum it out"),
        ("misshapen", {"x": 1, "y": 2}, "misshapen: AttributeError: .*, line 23$"),
        ("lines", {"x": 1}, "no function 'lines' of models.py; did you mean 'line'"),
        (
            "number",
            {"x": 1},
            "'number' of models.py, which is of type int, wanted one of",
        ),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(models, name, data, message):
    with pytest.raises(ValueError, match=message) as error:
        load(name, data)
    assert "\n" not in str(error.value)


def test_a_factor_is_data_enough(models):
    assert load("flat", None).names == ("mu",)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("models.py", "given 'models.py', wanted FILE.py:FUNCTION"),
        ("absent.py:f", "there is no file absent.py"),
        ("/absent/models:f", "there is no file /absent/models"),
        ("absent_package.models:f", "does not import: ModuleNotFoundError"),
        ("broken.py:f", "broken.py does not import: SyntaxError: .*line 2"),
        ("lacks.py:f", "lacks.py does not import: ModuleNotFoundError: .*nosuch"),
        ("raises.py:f", "raises.py does not import: ValueError: oh no, line 1"),
    ],
)
def test_a_program_that_is_not_there_is_named(models, place, message):
    (models / "broken.py").write_text("x = 1\ndef f(:\n")
    (models / "lacks.py").write_text("import nosuch\n")
    (models / "raises.py").write_text("raise ValueError('oh\\nno')\n")
    with pytest.raises(ValueError, match=message) as error:
        loading.load_program(place)
    assert "\n" not in str(error.value)
