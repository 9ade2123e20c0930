"""Design matrices: products, gradients and posteriors equal a dense matrix's."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import ppl_core as ppl

RNG = np.random.default_rng(4)
ROWS = 700
SOIL = RNG.integers(0, 7, ROWS)
AREA = (SOIL + RNG.integers(0, 2, ROWS)) % 4  # 14 pairs
NUMBERS = RNG.normal(size=(ROWS, 3))
DENSE = np.concatenate(  # 15 columns; the second group is standardised
    [np.eye(4)[AREA], NUMBERS, (np.eye(7)[SOIL] - 1 / 7) / 0.35, np.ones([ROWS, 1])],
    axis=1,
)
LABELS = RNG.integers(0, 2, ROWS)
COEFFS = RNG.normal(size=(4, 15))


def as_given(dense):
    return ppl.DesignMatrix(dense), dense


def sorted_rows():
    order = ppl.DesignMatrix(DENSE).argsort()
    return ppl.DesignMatrix(DENSE[order]), DENSE[order]


def more_patterns_than_a_group_may_have():
    return as_given(np.concatenate([RNG.integers(0, 2, [ROWS, 20]), DENSE], axis=1))


def nearly_one_hot():
    dense = DENSE.copy()
    dense[3, 0], dense[9, 1] = 0.999, 2.0
    dense[5, 8:10] = dense[:, 8].max()  # two columns are hot at once
    return as_given(dense)


CASES = {
    "as given": lambda: as_given(DENSE),
    "float32": lambda: as_given(DENSE.astype(np.float32)),
    "sorted": sorted_rows,
    "some of the sorted rows": lambda: [part[5:433] for part in sorted_rows()],
    "every other column": lambda: as_given(DENSE[:, ::-2]),
    "several groups": more_patterns_than_a_group_may_have,
    "nearly one-hot": nearly_one_hot,
    "numbers alone": lambda: as_given(NUMBERS),
    "categories alone": lambda: as_given(DENSE[:, :4]),
    "one row": lambda: as_given(DENSE[:1]),
    "whole numbers": lambda: as_given(np.eye(4, dtype=int)[AREA]),
}


@pytest.mark.parametrize("case", CASES)
def test_products_and_gradients_are_those_of_the_dense_matrix(case):
    design, dense = CASES[case]()
    coeffs = RNG.normal(size=dense.shape[1])
    tolerance = {"rtol": 1e-5, "atol": 1e-4} if case == "float32" else {"atol": 1e-11}
    variable = tf.constant(coeffs, design.dtype)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        product = design @ variable
        loss = tf.reduce_sum(tf.sin(product))
    grad = tape.gradient(loss, variable)
    np.testing.assert_allclose(product, dense @ coeffs, **tolerance)
    np.testing.assert_allclose(grad, np.cos(dense @ coeffs) @ dense, **tolerance)
    np.testing.assert_allclose(design.to_dense(), dense, **tolerance)
    assert design.shape == dense.shape and product.dtype == design.dtype


def test_structure_is_found_and_what_only_looks_like_it_stays_dense():
    design, _ = sorted_rows()
    assert design.numbers.shape == [3, ROWS]
    assert [table.shape for table in design.tables] == [[14, 12]]
    assert design.blocks.shape[0] * design.block_rows > 0.6 * ROWS
    assert (design.codes[0].dtype, design.codes[0].shape) == (tf.uint8, [ROWS])
    design, _ = nearly_one_hot()
    assert design.numbers.shape == [5, ROWS]  # two columns have a third value
    design, _ = more_patterns_than_a_group_may_have()
    assert len(design.tables) > 1


def test_rows_keep_their_order_and_an_index_is_numpys():
    design = ppl.DesignMatrix(DENSE)
    some = RNG.integers(-ROWS, ROWS, 90)
    for rows in (slice(3, None, 7), some, tf.constant(some), DENSE[:, 4] > 0, [5, -1]):
        index = np.asarray(rows) if tf.is_tensor(rows) else rows
        np.testing.assert_allclose(design[rows].to_dense(), DENSE[index], atol=1e-12)
    batch = tf.function(lambda rows: design[rows] @ COEFFS[0])(tf.constant(some))
    np.testing.assert_allclose(batch, DENSE[some] @ COEFFS[0])


def test_argsort_is_a_permutation_that_puts_rows_of_one_pattern_together():
    order = ppl.DesignMatrix(DENSE).argsort()
    np.testing.assert_array_equal(np.sort(order), np.arange(ROWS))
    design = ppl.DesignMatrix(DENSE)[order]
    firsts = np.arange(design.blocks.shape[0]) * design.block_rows
    for last in (firsts, firsts + design.block_rows - 1):
        np.testing.assert_array_equal(
            design.blocks, DENSE[order][last][:, [*range(4), *range(7, 15)]]
        )
    np.testing.assert_array_equal(ppl.DesignMatrix(NUMBERS).argsort(), np.arange(ROWS))


def test_many_coefficients_at_once_are_those_of_each():
    design, dense = sorted_rows()
    np.testing.assert_allclose(design.matvec(COEFFS), COEFFS @ dense.T)
    stacked = COEFFS.reshape(2, 2, 15)
    np.testing.assert_allclose(design.matvec(stacked), stacked @ dense.T)
    np.testing.assert_allclose(design @ COEFFS.T, dense @ COEFFS.T)
    assert design.matvec(COEFFS[:0]).shape == [0, ROWS]


def grads_of_chains(design, dtype):
    """The gradients of a loss by each of COEFFS, within vectorized_map."""

    def one(coeffs):
        with tf.GradientTape() as tape:
            tape.watch(coeffs)
            loss = tf.reduce_sum(tf.sin(design @ coeffs))
        return tape.gradient(loss, coeffs)

    return lambda coeffs: tf.vectorized_map(one, tf.cast(coeffs, dtype))


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_chains_in_graphs_and_in_xla_have_the_dense_gradients(dtype, jit_compile):
    design, dense = sorted_rows()  # float64: cast to the coefficients' dtype
    function = tf.function(grads_of_chains(design, dtype), jit_compile=jit_compile)
    grads = function(tf.constant(COEFFS))
    assert grads.dtype == dtype
    exact = np.cos(COEFFS @ dense.T) @ dense
    np.testing.assert_allclose(grads, exact, atol=1e-9 if dtype == tf.float64 else 1e-2)


def test_gradients_are_those_of_finite_differences_and_hessians_are_exact():
    design, dense = sorted_rows()
    coeffs = COEFFS[0]

    def loss(coeffs):
        return tf.reduce_sum(tf.sin(design @ coeffs))

    variable = tf.constant(coeffs)
    with tf.GradientTape() as outer:
        outer.watch(variable)
        with tf.GradientTape() as inner:
            inner.watch(variable)
            value = loss(variable)
        grad = inner.gradient(value, variable)
    hessian = outer.jacobian(grad, variable)
    steps = 1e-6 * np.eye(15)
    numeric = [(loss(coeffs + step) - loss(coeffs - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(grad, numeric, atol=1e-5)
    exact = -(dense.T * np.sin(dense @ coeffs)) @ dense
    np.testing.assert_allclose(hessian, exact, atol=1e-9)


def regression(design):
    coeffs = ppl.Normal(0.0, 1.0, sample_shape=design.shape[1], name="coeffs")
    return ppl.Bernoulli(logits=design @ coeffs, name="labels")


@pytest.fixture(scope="module")
def dense_posterior():
    return ppl.unconstrain(regression, DENSE, observed={"labels": LABELS})


@pytest.mark.parametrize(("dtype", "num_shards"), [(tf.float32, 3), (tf.float64, 1)])
def test_a_posterior_is_that_of_the_dense_matrix(dense_posterior, dtype, num_shards):
    order = ppl.DesignMatrix(DENSE).argsort()
    design, labels = ppl.DesignMatrix(DENSE)[order], LABELS[order]
    # The first two have blocks alone, of one number, and so one trace.
    cuts = [0, *[5 * design.block_rows, 10 * design.block_rows][: num_shards - 1], ROWS]
    shards = [
        ppl.Shard((design[first:last],), {"labels": labels[first:last]})
        for first, last in zip(cuts, cuts[1:], strict=False)
    ]
    posterior = ppl.unconstrain_shards(regression, shards, dtype=dtype)
    assert posterior.names == ("coeffs",)
    log_prob, grad = posterior.log_prob_and_grad(COEFFS)
    assert grad.dtype == dtype
    exact = dense_posterior.log_prob_and_grad(COEFFS)
    rtol = 1e-11 if dtype == tf.float64 else 2e-6
    np.testing.assert_allclose(log_prob, exact[0], rtol=rtol)
    np.testing.assert_allclose(grad, exact[1], atol=1000 * rtol)


def test_shards_of_rows_refuse_a_latent_variable_of_each_row():
    def model(design):
        coeffs = ppl.Normal(0.0, 1.0, sample_shape=15, name="coeffs")
        effect = ppl.Normal(0.0, 1.0, sample_shape=design.shape[0], name="effect")
        ppl.Bernoulli(logits=design @ coeffs + effect, name="labels")

    design = ppl.DesignMatrix(DENSE)
    shards = [
        ppl.Shard((design[rows],), {"labels": LABELS[rows]})
        for rows in (slice(0, 350), slice(350, 700))
    ]
    with pytest.raises(ValueError, match="'effect'.*follows the rows"):
        ppl.unconstrain_shards(model, shards)


def test_tracers_and_descriptions_see_through_a_product():
    design = ppl.DesignMatrix(DENSE)
    table = ppl.describe(regression, design, observed={"labels": LABELS})
    assert [(part.name, part.depends_on) for part in table] == [
        ("coeffs", ()),
        ("labels", ("coeffs",)),
    ]
    with ppl.condition(coeffs=COEFFS[0]):
        labels = regression(design.cast(tf.float32))
    np.testing.assert_allclose(
        labels.distribution.logits, DENSE @ COEFFS[0], rtol=1e-4, atol=1e-4
    )
    drawn = ppl.posterior_predictive(
        regression, design, draws={"coeffs": COEFFS}, seed=(0, 1)
    )
    assert drawn["labels"].shape == [4, ROWS]


def tensors_of(function, *args):
    """The shapes in the function's graph and in those that it calls."""
    graphs = [tf.function(function).get_concrete_function(*args).graph]
    shapes = []
    while graphs:
        graph = graphs.pop()
        for op in graph.get_operations():
            shapes += [tuple(t.shape) for t in op.outputs if t.shape.rank is not None]
            if "f" in op.node_def.attr and op.node_def.attr["f"].func.name:
                graphs.append(graph._get_function(op.get_attr("f").name).graph)
    return shapes


@pytest.mark.parametrize("case", ["as given", "sorted"])
def test_no_array_of_rows_and_columns_is_made(case):
    design, _ = CASES[case]()
    posterior = ppl.unconstrain(regression, design, observed={"labels": LABELS})
    shapes = tensors_of(posterior.log_prob_and_grad, tf.TensorSpec([1, 15], tf.float64))
    assert max(np.prod(shape) for shape in shapes) == 3 * ROWS  # the numbers


def frame():
    names = np.array(["x", "y", "z", "w"])
    area = pd.Categorical.from_codes(AREA, list("dcba"), ordered=False)
    return pd.DataFrame(
        {"age": NUMBERS[:, 0], "area": area, "old": SOIL > 3, "soil": names[SOIL % 4]}
    )


def test_a_frame_gives_numbers_and_a_column_for_each_category():
    dummies = pd.get_dummies(frame()["soil"]).to_numpy(float)  # in alphabetical order
    columns = [NUMBERS[:, :1], np.eye(4)[AREA], (SOIL > 3)[:, np.newaxis], dummies]
    design = ppl.DesignMatrix(frame())
    np.testing.assert_allclose(design.to_dense(), np.concatenate(columns, axis=1))
    letters = ["d", "c", "b", "a"]
    areas, soils = [f"area[{c}]" for c in letters], [f"soil[{c}]" for c in "wxyz"]
    assert design.names == ("age", *areas, "old", *soils)
    assert design.numbers.shape[0] == 1 and design.dtype == tf.float64

    coded = ppl.DesignMatrix(frame(), intercept=True, drop_first=True)
    assert coded.names == ("intercept", "age", *areas[1:], "old", *soils[1:])
    kept = np.delete(np.concatenate([np.ones([ROWS, 1]), *columns], axis=1), [2, 7], 1)
    np.testing.assert_allclose(coded.to_dense(), kept)
    with ppl.coords(column=coded.names):
        coeffs = ppl.Normal(0.0, 1.0, dims="column", name="coeffs")
    np.testing.assert_allclose(coded @ coeffs, kept @ coeffs.numpy(), atol=1e-5)


def test_categories_without_a_row_keep_their_column():
    area = pd.Categorical(["b", "b"], categories=["a", "b", "c"])
    design = ppl.DesignMatrix(pd.DataFrame({"area": area}))
    np.testing.assert_array_equal(design.to_dense(), [[0, 1, 0], [0, 1, 0]])


def with_column(values):
    return lambda: ppl.DesignMatrix(pd.DataFrame({"age": values}))


BAD = {
    "masked": (
        lambda: ppl.DesignMatrix(np.ma.masked_equal([[1.0, 2.0]], 2.0)),
        "1 masked entries",
    ),
    "nan": (
        lambda: ppl.DesignMatrix([[0.0, 1.0], [np.nan, 1.0]]),
        "given nan in row 1 of column 0, wanted finite",
    ),
    "vector": (lambda: ppl.DesignMatrix([1.0, 2.0]), r"shape \(2,\), wanted \[rows"),
    "no rows": (lambda: ppl.DesignMatrix(np.zeros([0, 3])), r"shape \(0, 3\)"),
    "text": (lambda: ppl.DesignMatrix([["a"], ["b"]]), "given an array of <U1"),
    "names": (lambda: ppl.DesignMatrix(DENSE, names=["a"]), "1 names, wanted 15"),
    "same names": (
        lambda: ppl.DesignMatrix(NUMBERS, names=["a", "b", "a"]),
        "the name 'a' twice",
    ),
    "drop_first": (lambda: ppl.DesignMatrix(DENSE, drop_first=True), "drop_first=True"),
    "names of a frame": (
        lambda: ppl.DesignMatrix(frame(), names=["a"]),
        "wanted no names",
    ),
    "empty frame": (lambda: ppl.DesignMatrix(pd.DataFrame()), r"shape \(0, 0\)"),
    "columns of one name": (
        lambda: ppl.DesignMatrix(pd.concat([frame(), frame()], axis=1)),
        "column 'age' twice",
    ),
    "missing number": (
        with_column([1.0, None, np.nan]),
        "column 'age' with 2 missing entries, the first in row 1",
    ),
    "infinite number": (with_column([1.0, np.inf]), "'age' with inf in row 1"),
    "missing category": (
        with_column(pd.Categorical(["a", None])),
        "'age' with 1 missing entries, the first in row 1",
    ),
    "mixed objects": (with_column(["a", 1]), "'age' with 1, wanted numbers, booleans"),
    "dates": (with_column(pd.to_datetime(["2020-01-01"])), "'age' of datetime64"),
    "many categories": (
        with_column([f"user {i}" for i in range(1500)]),
        "'age' of 1,500 categories, wanted at most 1,024",
    ),
    "coefficients": (
        lambda: ppl.DesignMatrix(DENSE) @ np.ones(14),
        r"coefficients of shape \(14,\), wanted \[columns\].* for 15 columns",
    ),
    "stacked coefficients": (
        lambda: ppl.DesignMatrix(DENSE) @ np.ones([4, 15]),
        r"shape \(4, 15\), wanted \[columns\] or \[columns, k\]",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_name(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_no_data_is_refused():
    design = ppl.DesignMatrix(NUMBERS)
    for bad in (3, (slice(0, 2), 1), None):
        with pytest.raises(TypeError, match="wanted rows: a slice"):
            design[bad]
    with pytest.raises(TypeError, match="given a RandomVariable"):
        ppl.DesignMatrix(ppl.Normal(tf.zeros([2, 2]), 1.0, name="x"))
    with pytest.raises(TypeError, match="given a tensor of a tf.function"):
        tf.function(ppl.DesignMatrix, autograph=False)(tf.zeros([2, 2]))
    with pytest.raises(TypeError, match="coefficients of int32"):
        design @ tf.constant([1, 2, 3])
    with pytest.raises(IndexError, match="given the index 700"):
        design[[700]]


def test_no_rows_have_no_products():
    design = ppl.DesignMatrix(np.eye(3)[[0, 2, 0, 1]])
    for none in (design[:0], design[np.zeros(4, bool)]):
        assert (none @ [1.0, 2.0, 3.0]).shape == (0,)
        np.testing.assert_array_equal(np.zeros(0) @ none, np.zeros(3))
