"""A random variable stands in for its value, wherever a tensor may be."""

import collections
import operator

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import ppl_core as ppl

tfd = tfp.distributions

FLOATS = np.array([[0.5, -1.5, 2.0], [1.0, 3.0, -0.25]], np.float32)
OTHERS = np.array([[0.5, 2.0, -2.0], [4.0, 3.0, 0.75]], np.float32)
BOOLS = np.array([True, False, True])


def float_variable(value=FLOATS, name="x"):
    return ppl.Normal(0.0, 1.0, sample_shape=np.shape(value), value=value, name=name)


def bool_variable(value=BOOLS, name="x"):
    return ppl.Bernoulli(logits=tf.zeros(3), dtype=tf.bool, value=value, name=name)


def same(actual, expected):
    assert tf.is_tensor(actual)
    assert not isinstance(actual, ppl.RandomVariable)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


# Operators

UNARY_FLOAT = ["__abs__", "__neg__"]
BOTH_BOOL = ["__and__", "__or__", "__xor__", "__rand__", "__ror__", "__rxor__"]
SPECIAL = ["__getitem__", "__invert__", "__matmul__", "__rmatmul__"]
BINARY_FLOAT = sorted(
    set(tf.Tensor.OVERLOADABLE_OPERATORS) - {*UNARY_FLOAT, *BOTH_BOOL, *SPECIAL}
)


@pytest.mark.parametrize("name", UNARY_FLOAT)
def test_unary_operators_act_on_the_value(name):
    same(getattr(float_variable(), name)(), getattr(tf.constant(FLOATS), name)())


def test_inversion_acts_on_the_value():
    same(~bool_variable(), ~tf.constant(BOOLS))


@pytest.mark.parametrize("name", BINARY_FLOAT)
@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: tf.constant(OTHERS), id="tensor"),
        pytest.param(lambda: OTHERS, id="array"),
        pytest.param(lambda: 2.0, id="float"),
        pytest.param(lambda: tf.Variable(OTHERS), id="variable"),
        pytest.param(lambda: float_variable(OTHERS, "y"), id="random variable"),
    ],
)
def test_binary_operators_act_on_the_value(name, other):
    other = other()
    operand = other.value if isinstance(other, ppl.RandomVariable) else other
    expected = getattr(tf.constant(FLOATS), name)(operand)
    actual = getattr(float_variable(), name)(other)
    np.testing.assert_array_equal(actual, expected)
    assert actual.dtype == expected.dtype


@pytest.mark.parametrize("name", BOTH_BOOL)
@pytest.mark.parametrize("other", [True, np.array([True, True, False])])
def test_logical_operators_act_on_the_value(name, other):
    expected = getattr(tf.constant(BOOLS), name)(other)
    same(getattr(bool_variable(), name)(other), expected)
    same(getattr(bool_variable(), name)(tf.constant(other)), expected)


INFIX = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.pow,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.eq,
    operator.ne,
]


@pytest.mark.parametrize("infix", INFIX)
@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: tf.constant(OTHERS), id="tensor"),
        pytest.param(lambda: OTHERS, id="array"),
        pytest.param(lambda: 2.0, id="float"),
        pytest.param(lambda: np.float32(2.0), id="scalar"),
        pytest.param(lambda: tf.Variable(OTHERS), id="variable"),
        pytest.param(lambda: float_variable(OTHERS, "y"), id="random variable"),
    ],
)
def test_expressions_with_the_variable_on_either_side_act_on_the_value(infix, other):
    other, value, variable = other(), tf.constant(FLOATS), float_variable()
    operand = other.value if isinstance(other, ppl.RandomVariable) else other
    same(infix(variable, other), infix(value, operand))
    same(infix(other, variable), infix(tf.convert_to_tensor(operand), value))


def test_matrix_products_act_on_the_value():
    matrix = FLOATS.T.copy()
    expected = tf.constant(FLOATS) @ matrix
    for left, right in [
        (float_variable(), matrix),
        (float_variable(), tf.constant(matrix)),
        (FLOATS, float_variable(matrix)),
        (tf.constant(FLOATS), float_variable(matrix)),
        (float_variable(), float_variable(matrix)),
    ]:
        same(left @ right, expected)
    same(tf.matmul(float_variable(), float_variable(matrix)), expected)


def test_slicing_acts_on_the_value():
    variable, value = float_variable(), tf.constant(FLOATS)
    index = ppl.Categorical(logits=[0.0, 0.0], value=1, name="index")
    same(variable[0], value[0])
    same(variable[..., tf.newaxis, 1:], value[..., tf.newaxis, 1:])
    same(variable[variable > 0.6], value[value > 0.6])
    same(value[index], value[1])
    same(variable[:, index], value[:, 1])
    same(variable[index], value[1])


def test_iteration_length_and_unpacking_act_on_the_value():
    variable = float_variable()
    assert len(variable) == 2
    first, second = variable
    same(first, tf.constant(FLOATS[0]))
    same(second, tf.constant(FLOATS[1]))
    with pytest.raises(TypeError):
        iter(ppl.Normal(0.0, 1.0))


def test_truth_and_number_conversions_act_on_the_value():
    assert bool(ppl.Normal(0.0, 1.0, value=2.0))
    assert not bool(ppl.Normal(0.0, 1.0, value=0.0))
    with pytest.raises(ValueError):
        bool(float_variable())
    assert float(ppl.Normal(0.0, 1.0, value=2.5)) == 2.5
    assert int(ppl.Normal(0.0, 1.0, value=2.5)) == 2
    count = ppl.Poisson(3.0, value=2.0)
    assert ["a", "b", "c"][ppl.Categorical(logits=[0.0] * 3, value=2)] == "c"
    with pytest.raises(TypeError, match="given float32 as an index"):
        ["a", "b", "c"][count]


def test_equality_is_elementwise_and_hashing_fails_as_for_tensors():
    same(float_variable() == float_variable(), tf.constant(FLOATS) == FLOATS)
    with pytest.raises(TypeError, match="unhashable"):
        hash(float_variable())


def test_conversion_gives_the_value():
    variable = float_variable()
    same(tf.convert_to_tensor(variable), tf.constant(FLOATS))
    same(tf.cast(variable, tf.float64), tf.constant(FLOATS, tf.float64))
    assert tf.convert_to_tensor(variable, dtype_hint=tf.int32).dtype == tf.float32
    with pytest.raises(ValueError, match="float32"):
        tf.convert_to_tensor(variable, tf.float64)
    for array in (variable.numpy(), np.asarray(variable), np.array(variable)):
        assert type(array) is np.ndarray
        np.testing.assert_array_equal(array, FLOATS)
    assert np.asarray(variable, np.float64).dtype == np.float64
    assert variable.shape == (2, 3) and variable.dtype == tf.float32


def test_functions_of_tensors_accept_variables():
    variable = float_variable()
    same(tf.exp(variable), tf.exp(FLOATS))
    same(tf.reduce_sum(variable, 1), tf.reduce_sum(FLOATS, 1))
    same(tf.stack([variable, variable]), tf.stack([FLOATS, FLOATS]))
    same(tf.concat([variable, FLOATS], 0), tf.concat([FLOATS, FLOATS], 0))
    same(tf.where(variable > 0, variable, 0.0), tf.where(FLOATS > 0, FLOATS, 0.0))
    same(tf.gather(variable, [1]), tf.gather(FLOATS, [1]))
    same(tfd.Normal(variable, 1.0).mean(), tf.constant(FLOATS))
    np.testing.assert_array_equal(np.exp(np.asarray(variable)), np.exp(FLOATS))


def test_functions_of_structures_take_the_value():
    """Those that the page on the language names."""
    variable = float_variable()
    value = variable.value
    same(tf.map_fn(lambda row: 2.0 * row, value), 2.0 * FLOATS)
    same(tf.vectorized_map(lambda row: 2.0 * row, value), 2.0 * FLOATS)
    same(tf.stack(list(tf.data.Dataset.from_tensor_slices(value))), FLOATS)
    same(tf.cond(variable[0, 0] < 1e9, lambda: value, lambda: 0.0 * value), FLOATS)
    same(tf.switch_case(tf.constant(0), [lambda: value]), FLOATS)
    loop = tf.while_loop(lambda i, _: i < 2, lambda i, x: (i + 1, 2.0 * x), (0, value))
    same(loop[1], 4.0 * FLOATS)
    same(tf.experimental.numpy.square(value), FLOATS**2)
    np.testing.assert_allclose(np.mean(value), FLOATS.mean(), rtol=1e-6)
    assert tf.is_tensor(value) and not tf.is_tensor(variable)


def test_arrays_on_the_left_leave_the_operator_to_the_variable():
    actual = OTHERS * float_variable()
    assert isinstance(actual, tf.Tensor)
    np.testing.assert_array_equal(actual, OTHERS * FLOATS)


# Distribution, value and name


def test_methods_of_the_distribution_are_forwarded():
    variable = ppl.Normal(1.0, 2.0, sample_shape=3, value=[1.0, 2.0, 3.0], name="x")
    distribution = tfd.Normal(1.0, 2.0)
    np.testing.assert_array_equal(variable.mean(), distribution.mean())
    np.testing.assert_array_equal(variable.entropy(), distribution.entropy())
    np.testing.assert_array_equal(
        variable.log_prob(), distribution.log_prob([1.0, 2.0, 3.0])
    )
    np.testing.assert_array_equal(variable.log_prob(0.5), distribution.log_prob(0.5))
    np.testing.assert_array_equal(
        variable.sample(4, seed=(1, 2)), distribution.sample(4, seed=(1, 2))
    )
    assert variable.sample_shape == (3,) and variable.name == "x"
    assert isinstance(variable.distribution, tfd.Normal)


def test_the_value_is_sampled_once_with_the_seed_and_sample_shape():
    variable = ppl.Normal([0.0, 1.0], 2.0, sample_shape=[3, 1], seed=(1, 2))
    np.testing.assert_array_equal(
        variable.value, tfd.Normal([0.0, 1.0], 2.0).sample([3, 1], seed=(1, 2))
    )
    assert variable.value is variable.value
    assert variable.shape == (3, 1, 2)
    assert not variable.observed


@pytest.mark.parametrize("sample_shape", [(), 3, [2, 3], (2, 3), np.array([2, 3])])
def test_sample_shapes_are_leading_dimensions(sample_shape):
    leading = tuple(np.atleast_1d(np.array(sample_shape, int)))
    variable = ppl.MultivariateNormalDiag(
        tf.zeros([5, 4]), tf.ones(4), sample_shape=sample_shape
    )
    assert variable.shape == leading + (5, 4)
    assert variable.log_prob().shape == leading + (5,)
    tensor = ppl.Normal(0.0, 1.0, sample_shape=tf.constant(sample_shape, tf.int32))
    assert tensor.shape == leading
    assert tensor.sample_shape == leading


def test_a_value_of_the_wrong_shape_is_an_error_with_both_shapes():
    with pytest.raises(ValueError) as raised:
        ppl.MultivariateNormalDiag(
            tf.zeros([5, 4]),
            tf.ones(4),
            sample_shape=2,
            value=tf.zeros([5, 4]),
            name="x",
        )
    message = str(raised.value)
    assert "MultivariateNormalDiag(name='x')" in message
    assert "a value of shape (5, 4), wanted (2, 5, 4)" in message
    assert "sample (2,) + batch (5,) + event (4,)" in message
    with pytest.raises(ValueError, match=r"shape \(2,\), wanted \(\)"):
        ppl.Normal(0.0, 1.0, value=[1.0, 2.0])


def test_values_get_the_distributions_dtype():
    for value in (1, 1.0, [1], np.array([1]), np.array([1.0])):
        shape = np.shape(value)
        variable = ppl.Normal(
            np.float64(0), np.float64(1), sample_shape=shape, value=value
        )
        assert variable.dtype == tf.float64
        variable = ppl.Normal(0.0, 1.0, sample_shape=shape, value=value)
        assert variable.dtype == tf.float32


def test_a_random_variable_may_be_the_value_of_another():
    inner = ppl.Normal(0.0, 1.0, name="x")
    outer = ppl.Normal(1.0, 1.0, value=inner, name="y")
    assert outer.value is inner.value


def test_a_function_as_value_receives_the_variable():
    def mean_of(variable):
        return tf.broadcast_to(variable.distribution.mean(), variable.sample_shape)

    variable = ppl.Normal(3.0, 1.0, sample_shape=[2], value=mean_of)
    np.testing.assert_array_equal(variable.value, [3.0, 3.0])


def test_observed_defaults_to_whether_a_value_was_given():
    assert ppl.Normal(0.0, 1.0, value=0.0).observed
    assert not ppl.Normal(0.0, 1.0).observed
    assert not ppl.Normal(0.0, 1.0, value=0.0, observed=False).observed


def joint():
    return {
        "scale": tfd.Gamma(2.0, 1.0),
        "x": lambda scale: tfd.Sample(tfd.Normal(0.0, scale), 3),
    }


def test_joint_distributions_have_structured_values():
    drawn = ppl.JointDistributionNamed(joint(), name="pair")
    assert set(drawn.value) == {"scale", "x"}
    assert drawn.value["x"].shape == (3,)
    assert set(drawn.numpy()) == {"scale", "x"}
    value = {"scale": 2.0, "x": np.ones(3)}
    actual = ppl.JointDistributionNamed(joint(), value=value, name="pair")
    expected = tfd.Gamma(2.0, 1.0).log_prob(2.0) + 3 * tfd.Normal(0.0, 2.0).log_prob(
        1.0
    )
    np.testing.assert_allclose(actual.log_prob(), expected, rtol=1e-6)
    with ppl.condition(pair=value):
        conditioned = ppl.JointDistributionNamed(joint(), name="pair")
    np.testing.assert_allclose(conditioned.log_prob(), expected, rtol=1e-6)


class DensityAlone(tfd.Distribution):
    """An exponential that cannot be drawn from."""

    def __init__(self, rate, name="DensityAlone"):
        self._rate = tf.convert_to_tensor(rate)
        super().__init__(
            dtype=self._rate.dtype,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters={"rate": rate},
            name=name,
        )

    def _event_shape(self):
        return tf.TensorShape([])

    def _batch_shape(self):
        return self._rate.shape

    def _log_prob(self, value):
        return tf.math.log(self._rate) - self._rate * value


def test_a_distribution_that_cannot_sample_can_be_conditioned():
    make = ppl.make_random_variable(DensityAlone)
    with ppl.tape() as variables, ppl.condition(x=2.0):
        make(3.0, name="x")
    np.testing.assert_allclose(variables["x"].log_prob(), np.log(3.0) - 6.0, rtol=1e-6)
    undrawn = make(3.0, name="x")
    np.testing.assert_allclose(undrawn.log_prob(1.0), np.log(3.0) - 3.0, rtol=1e-6)
    with pytest.raises(
        NotImplementedError, match=r"DensityAlone\(name='x'\) has no value"
    ):
        _ = undrawn + 1.0
    assert "no value" in repr(undrawn)


def test_repr_shows_constructor_name_and_value():
    printed = repr(ppl.Gamma(1.0, 1.0, value=2.5, name="tau"))
    assert "RandomVariable Gamma(name='tau')" in printed and "2.5" in printed


# tf.function, XLA, gradients, loops


@pytest.mark.parametrize("jit_compile", [False, True])
def test_programs_run_in_compiled_functions(jit_compile):
    @tf.function(jit_compile=jit_compile, autograph=False)
    def log_prob(mu, x):
        loc = ppl.Normal(0.0, 2.0, value=mu, name="mu")
        variable = ppl.Normal(2.0 * loc + loc, 1.0, value=x, name="x")
        return loc.log_prob() + variable.log_prob() + variable * 0.0

    expected = tfd.Normal(0.0, 2.0).log_prob(0.3) + tfd.Normal(0.9, 1.0).log_prob(1.0)
    actual = log_prob(tf.constant(0.3), tf.constant(1.0))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def draw(seed):
    return ppl.Normal(1.0, 2.0, sample_shape=4, seed=seed) + 1.0


def test_draws_in_a_tf_function_are_the_eager_draws():
    seed = tf.constant([1, 2])
    np.testing.assert_allclose(tf.function(draw)(seed), draw(seed), rtol=1e-6)


def test_draws_compiled_by_xla_depend_on_the_seed_alone():
    compiled = tf.function(draw, jit_compile=True)
    one, again, other = [
        compiled(tf.constant(seed)) for seed in ([1, 2],) * 2 + ([1, 3],)
    ]
    np.testing.assert_array_equal(one, again)
    assert not np.any(one.numpy() == other.numpy())


def test_gradients_by_value_and_by_parameters():
    loc = tf.Variable(0.5)
    with tf.GradientTape(persistent=True) as tape:
        mu = ppl.Normal(loc, 2.0, value=1.5, name="mu")
        tape.watch(mu.value)
        x = ppl.Normal(mu, 1.0, value=3.0, name="x")
        log_prob = x.log_prob() + mu.log_prob()
    np.testing.assert_allclose(
        tape.gradient(log_prob, mu.value), (3.0 - 1.5) - (1.5 - 0.5) / 4, rtol=1e-6
    )
    np.testing.assert_allclose(
        tape.gradient(log_prob, mu), (3.0 - 1.5) - (1.5 - 0.5) / 4, rtol=1e-6
    )
    np.testing.assert_allclose(tape.gradient(log_prob, loc), 1.0 / 4, rtol=1e-6)


def test_reparameterised_draws_carry_gradients():
    scale = tf.Variable(2.0)
    with tf.GradientTape() as tape:
        x = ppl.Normal(0.0, scale, seed=(1, 2))
        doubled = 2.0 * x
    np.testing.assert_allclose(
        tape.gradient(doubled, scale), doubled / scale, rtol=1e-6
    )


def test_variables_inside_vectorized_map():
    values = tf.constant([0.5, -1.0, 2.0])

    def one(value):
        mu = ppl.Normal(0.0, 2.0, value=value)
        return ppl.Normal(mu, 1.0, sample_shape=2, value=[1.0, 2.0]).log_prob()

    expected = tfd.Normal(values[:, tf.newaxis], 1.0).log_prob([1.0, 2.0])
    np.testing.assert_allclose(tf.vectorized_map(one, values), expected, rtol=1e-6)


def shifted_normal(shift):
    """No composite tensor, since its bijector is a class of its own."""

    class Shift(tfp.bijectors.Bijector):
        def __init__(self):
            super().__init__(
                forward_min_event_ndims=0, is_constant_jacobian=True, parameters={}
            )

        def _forward(self, x):
            return x + shift

        def _inverse(self, y):
            return y - shift

        def _forward_log_det_jacobian(self, x):
            return tf.zeros([], x.dtype)

    return tfd.TransformedDistribution(tfd.Normal(0.0, 1.0), Shift())


class OwnNormal(tfd.Normal):
    """A class of a user's own."""


CONSTRUCTIONS = {
    "Normal": lambda i: ppl.Normal(float(i), 1.0, sample_shape=3, name="x"),
    "Bernoulli": lambda i: ppl.Bernoulli(logits=[0.1 * i, 1.0], name="x"),
    "scaled": lambda i: ppl.Normal(0.0, 1.0, log_prob_scale=float(i), name="x"),
    "masked": lambda i: ppl.Normal(0.0, 1.0, log_prob_mask=i > 1, name="x"),
    "MultivariateNormalTriL": lambda i: ppl.MultivariateNormalTriL(
        tf.fill([2], float(i)), tf.eye(2), name="x"
    ),
    "MixtureSameFamily": lambda i: ppl.MixtureSameFamily(
        tfd.Categorical(logits=[0.0, float(i)]), tfd.Normal([0.0, 1.0], 1.0), name="x"
    ),
    "no composite tensor": lambda i: ppl.make_random_variable(shifted_normal)(
        float(i), name="x"
    ),
    "own density": lambda i: ppl.make_random_variable(DensityAlone)(
        float(i + 1), value=1.0, name="x"
    ),
    "own subclass": lambda i: ppl.make_random_variable(OwnNormal)(
        float(i), 1.0, name="x"
    ),
    "holds a function": lambda i: ppl.TransformedDistribution(
        tfd.Normal(float(i), 1.0),
        tfp.bijectors.Inline(
            forward_fn=lambda x: x, inverse_fn=lambda y: y, forward_min_event_ndims=0
        ),
        name="x",
    ),
    "GaussianProcess": lambda i: ppl.GaussianProcess(
        tfp.math.psd_kernels.ExponentiatedQuadratic(float(i + 1)),
        [[0.0], [1.0]],
        name="x",
    ),
    "JointDistributionNamed": lambda i: ppl.JointDistributionNamed(joint(), name="x"),
}


@pytest.mark.parametrize("kind", CONSTRUCTIONS)
def test_a_tf_function_is_not_traced_again_for_a_new_variable(kind):
    traces = []

    @tf.function(autograph=False)
    def total(variable):
        traces.append(variable.name)
        assert isinstance(variable, ppl.RandomVariable)
        return tf.add_n([tf.reduce_sum(tf.cast(part, tf.float32))
                         for part in tf.nest.flatten(variable.value)])  # fmt: skip

    for i in range(4):
        variable = CONSTRUCTIONS[kind](i)
        expected = sum(np.sum(part) for part in tf.nest.flatten(variable.numpy()))
        np.testing.assert_allclose(total(variable), expected, rtol=1e-5, atol=1e-6)
    assert traces == ["x"]


def test_the_distribution_enters_a_tf_function_with_the_variable():
    @tf.function(autograph=False)
    def log_prob(variable):
        return variable.log_prob()

    for i in range(3):
        variable = ppl.Normal(
            float(i), 1.0, sample_shape=3, log_prob_scale=2.0 + i,
            log_prob_mask=[True, False, True], name="x",
        )  # fmt: skip
        np.testing.assert_allclose(
            log_prob(variable), variable.log_prob(), rtol=1e-5, atol=1e-6
        )
    assert log_prob.experimental_get_tracing_count() == 1


def test_the_error_names_a_variable_without_its_distribution():
    variable = CONSTRUCTIONS["no composite tensor"](1)
    log_prob = tf.function(lambda variable: variable.log_prob(), autograph=False)
    with pytest.raises(ValueError, match=r"shifted_normal\(name='x'\) entered a tf"):
        log_prob(variable)


def test_a_tf_function_can_return_a_variable():
    @tf.function(autograph=False)
    def make(loc):
        return ppl.Normal(loc, 1.0, value=2.0 * loc, name="x")

    variable = make(tf.constant(1.5))
    assert isinstance(variable, ppl.RandomVariable)
    assert variable.name == "x" and variable.observed
    np.testing.assert_array_equal(variable.value, 3.0)
    np.testing.assert_array_equal(variable.distribution.loc, 1.5)
    np.testing.assert_allclose(
        variable.log_prob(), tfd.Normal(1.5, 1.0).log_prob(3.0), rtol=1e-6
    )


def test_a_variable_can_be_a_loop_variable():
    @tf.function(autograph=False)
    def walk(start):
        def step(i, position):
            new = ppl.Normal(position, 1.0, value=position + 1.0, name="x")
            return i + 1, new

        return tf.while_loop(lambda i, _: i < 5, step, (0, start))[1]

    end = walk(ppl.Normal(0.0, 1.0, value=0.5, name="x"))
    np.testing.assert_array_equal(end.value, 5.5)
    np.testing.assert_array_equal(end.distribution.loc, 4.5)


def test_tf_nest_flattens_a_variable_into_its_tensors():
    variable = ppl.Normal(1.5, 2.0, value=0.5, name="x")
    flat = tf.nest.flatten(variable, expand_composites=True)
    assert sorted(float(part) for part in flat) == [0.5, 1.5, 2.0]
    again = tf.nest.pack_sequence_as(variable, flat, expand_composites=True)
    np.testing.assert_array_equal(again.log_prob(), variable.log_prob())
    Pair = collections.namedtuple("Pair", "a b")
    assert tf.nest.flatten(Pair(variable, 1.0))[0] is variable


def test_variables_of_different_names_or_shapes_have_separate_traces():
    @tf.function(autograph=False)
    def identity(variable):
        return variable.value

    identity(ppl.Normal(0.0, 1.0, name="x"))
    identity(ppl.Normal(0.0, 1.0, name="y"))
    identity(ppl.Normal(0.0, 1.0, sample_shape=2, name="y"))
    identity(ppl.Normal(5.0, 1.0, sample_shape=2, name="y"))
    assert identity.experimental_get_tracing_count() == 3


def test_numpy_of_a_variable_inside_a_tf_function_is_an_attribute_error():
    with pytest.raises(AttributeError, match="numpy"):
        tf.function(lambda: ppl.Normal(0.0, 1.0).numpy(), autograph=False)()


LISTS = {
    "tf.stack": tf.stack,
    "tf.convert_to_tensor": tf.convert_to_tensor,
    "tf.reduce_sum": lambda parts: tf.reduce_sum(parts) * tf.constant([1.0, 1.0]),
    "tfd": lambda parts: tfd.Normal(parts, 1.0).mean(),
    "nested": lambda parts: tf.convert_to_tensor([parts, parts])[1],
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_scalar_variables_is_a_tensor_eager_and_traced(name):
    def traced(number):
        x = ppl.Normal(0.0, 1.0, value=number, name="x")
        y = ppl.Normal(0.0, 1.0, value=2.0 * number, name="y")
        return LISTS[name]([x, y])

    expected = {"tf.reduce_sum": [9.0, 9.0]}.get(name, [3.0, 6.0])
    number = tf.constant(3.0)
    assert traced(number).numpy().tolist() == expected
    in_graph = tf.function(traced, autograph=False)(number)
    assert in_graph.numpy().tolist() == expected
    mapped = tf.vectorized_map(traced, tf.constant([0.0, 3.0]))
    assert mapped.numpy().tolist() == [[0.0, 0.0], expected]
    with tf.GradientTape() as tape:
        tape.watch(number)
        result = tf.reduce_sum(traced(number))
    assert tape.gradient(result, number) == result / 3.0


def test_lists_without_variables_are_converted_as_before():
    assert tf.convert_to_tensor([1, 2]).dtype == tf.int32
    assert tf.convert_to_tensor([tf.constant(1.0), 2.0]).numpy().tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="non-rectangular"):
        tf.convert_to_tensor([[1], [2, 3]])


def test_a_variable_has_the_shape_and_the_format_of_its_value():
    x = ppl.Normal(0.0, 1.0, value=1.25, name="x")
    assert f"{x:.1f}" == f"{1.25:.1f}" and f"{x}" == str(x)
    wide = ppl.Normal(0.0, 1.0, sample_shape=[2, 3], name="wide")
    assert wide.ndim == 2 and wide.get_shape() == wide.shape == [2, 3]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_one_entry_is_not_repeated_to_a_length_known_later(jit_compile):
    @tf.function(input_signature=[tf.TensorSpec([None])], jit_compile=jit_compile)
    def log_prob(loc):
        return ppl.Normal(loc, 1.0, value=[0.5], name="x").log_prob()

    expected = tfd.Normal(2.0, 1.0).log_prob([0.5])
    np.testing.assert_allclose(log_prob(tf.constant([2.0])), expected)
    with pytest.raises(tf.errors.InvalidArgumentError):
        log_prob(tf.constant([2.0, 3.0]))


def test_censored_data_and_sums_do_not_enter_a_tf_function():
    def model():
        z = ppl.Bernoulli(probs=0.25, name="z")
        ppl.Normal(3.0 * tf.cast(z, tf.float32), 1.0, name="x")

    with ppl.tape() as variables, ppl.condition(x=1.0):
        ppl.marginalize(model, "z")()
    interval = ppl.Interval([1.5, 4.0], [1.5, np.inf])
    y = ppl.Exponential(0.5, sample_shape=2, value=interval, name="y")
    log_prob = tf.function(lambda variable: variable.log_prob(), autograph=False)
    for variable in (variables["x"], y):
        with pytest.raises(ValueError, match="has censored data or a sum: make the"):
            log_prob(variable)
