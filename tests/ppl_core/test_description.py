"""The table of a program's variables."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

import ppl_core as ppl


def program(n, scale=1.0):
    w = ppl.Dirichlet([1.0, 1.0], name="w")
    mu = ppl.Normal([-1.0, 1.0], scale, dims="component", name="mu")
    tau = ppl.HalfFlat(name="tau")
    cuts = ppl.Normal(0.0, 1.0, sample_shape=2, bijector=tfb.Ascending(), name="cuts")
    with ppl.plate("row", n):
        z = ppl.Categorical(probs=w, name="z")
        loc = ppl.deterministic(mu[z], "loc")
        ppl.Normal(loc, tau, name="x")
    ppl.factor(-tf.reduce_sum(cuts), "penalty")
    upper = ppl.Exponential(1.0, name="upper")
    ppl.Uniform(0.0, upper, name="u")


def rows():
    observed = {"x": np.zeros(3, np.float32)}
    table = ppl.describe(program, 3, observed=observed, kwargs={"scale": 2.0})
    return {part.name: part for part in table}


def test_each_variable_is_described():
    table = rows()
    assert {name: part.kind for name, part in table.items()} == {
        **dict.fromkeys(["w", "mu", "tau", "cuts", "z", "upper", "u"], "latent"),
        "loc": "deterministic",
        "x": "data",
        "penalty": "factor",
    }
    assert table["z"].dtype == "int32" and table["z"].shape == (3,)
    assert table["loc"].dims == table["x"].dims == ("row",)
    assert table["mu"].dims == ("component",) and table["tau"].dims is None
    assert table["mu"].support == "real numbers"
    assert table["tau"].support == "numbers, 0 or more"
    assert table["cuts"].support == "values of Ascending"
    assert "add up to 1" in table["w"].support


def test_what_a_variable_depends_on_directly():
    table = rows()
    assert {name: part.depends_on for name, part in table.items()} == {
        **dict.fromkeys(["w", "mu", "tau", "cuts", "upper"], ()),
        "z": ("w",),
        "loc": ("mu", "z"),
        "x": ("tau", "loc"),
        "penalty": ("cuts",),
        "u": ("upper",),
    }


def test_the_printed_table_has_a_line_for_each():
    lines = str(ppl.describe(program, 3)).splitlines()
    assert len(lines) == 11
    assert (
        lines[0].split()
        == "name constructor kind shape dtype support dims depends on".split()
    )
    assert lines[6].startswith("loc") and lines[6].endswith("mu, z")


def test_errors_are_the_programs():
    with pytest.raises(ValueError, match=r"named \['q'\]"):
        ppl.describe(program, 3, observed={"q": 1.0})
