"""Functions of TensorFlow as portable programs, or a line that says why not."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from experiments.export.lowering import STABLEHLO_VERSION, lower


@tf.function(jit_compile=True, autograph=False)
def doubled(x):
    return [2.0 * x, tf.reduce_sum(x)]


def test_without_jax_the_export_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax.extend", None)
    with pytest.raises(ValueError, match="^jax: not installed, .*: make peers$"):
        lower("doubled", doubled, np.zeros(3))


def test_a_program_has_the_shapes_of_its_function_and_its_data_behind_them():
    pytest.importorskip("jax")
    table = tf.constant(np.arange(600.0).reshape(3, 200))
    product = tf.function(
        lambda x: tf.linalg.matvec(table, x), jit_compile=True, autograph=False
    )
    lowered = lower("product", product, np.zeros(200))
    assert lowered.arguments == [("float64", [200])]
    assert lowered.results == [("float64", [3])]
    np.testing.assert_array_equal(lowered.data, [table])
    for module in lowered.modules.values():
        assert f"StableHLO_v{STABLEHLO_VERSION}".encode() in module
