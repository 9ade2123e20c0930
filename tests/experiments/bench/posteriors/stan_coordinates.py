"""Our posteriors as densities on Stan's unconstrained space.

Stan's transforms are those of its reference manual, "Constraint transforms".  They are
written here a second time, to be compared with what Stan's programs and ours do.
"""

import numpy as np
import tensorflow as tf

from experiments.bench.posteriors.model import Between


def simplex_matrix(num):
    """[num, num - 1] with orthonormal columns: Stan's simplex is softmax(this @ u)."""
    matrix = np.zeros((num, num - 1))
    for i in range(1, num):
        matrix[:i, i - 1] = 1 / np.sqrt(i * (i + 1))
        matrix[i, i - 1] = -i / np.sqrt(i * (i + 1))
    return tf.constant(matrix)


def constrained(kind, u, earlier):
    """Stan's value of a parameter, [points, ...], from its coordinates."""
    if kind == "real":
        return u
    if kind == "positive":
        return tf.exp(u)
    if kind == "unit":
        return tf.sigmoid(u)
    if kind == "ordered":
        steps = tf.concat([u[..., :1], tf.exp(u[..., 1:])], -1)
        return tf.cumsum(steps, axis=-1)
    if kind == "simplex":
        matrix = simplex_matrix(u.shape[-1] + 1)
        return tf.nn.softmax(tf.linalg.matvec(matrix, u))
    assert isinstance(kind, Between)
    low, high = kind.low(earlier), kind.high(earlier)
    return low + (high - low) * tf.sigmoid(u)


def stan_values(posterior, parameters, points):
    """The values of Stan's parameters at its coordinates [points, dim], by name."""
    shapes = {
        name: value.shape[1:]
        for name, value in posterior.constrain(tf.zeros_like(points[:1])).items()
    }
    values, begin = {}, 0
    for name, kind in parameters.items():
        shape = list(shapes[name])
        if kind == "simplex":
            shape[-1] -= 1
        size = int(np.prod(shape))
        u = tf.reshape(points[:, begin : begin + size], [-1, *shape])
        values[name] = constrained(kind, u, values)
        begin += size
    assert begin == points.shape[1]
    return values


def values_and_log_det(posterior, parameters, points):
    """What `stan_values` gives, and the log determinant of Stan's transform."""
    points = tf.constant(points, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(points)
        values = stan_values(posterior, parameters, points)
        free = [
            value[..., :-1] if parameters[name] == "simplex" else value
            for name, value in values.items()
        ]
        flat = tf.concat([tf.reshape(x, [len(points), -1]) for x in free], 1)
    jacobian = tape.batch_jacobian(flat, points)
    arrays = {name: value.numpy() for name, value in values.items()}
    return arrays, tf.linalg.slogdet(jacobian).log_abs_determinant.numpy()


def log_prob_and_grad(posterior, parameters, points):
    """Our log density of Stan's coordinates at [points, dim], and its gradient."""

    @tf.function(autograph=False)
    def evaluate(u):
        with tf.GradientTape() as outer:
            outer.watch(u)
            with tf.GradientTape() as inner:
                inner.watch(u)
                y = posterior.unconstrain(stan_values(posterior, parameters, u))
            jacobian = inner.batch_jacobian(y, u)
            log_det = tf.linalg.slogdet(jacobian).log_abs_determinant
        log_prob, grad = posterior.log_prob_and_grad(y)
        moved = tf.linalg.matvec(jacobian, grad, transpose_a=True)
        return log_prob + log_det, moved + outer.gradient(
            log_det, u, unconnected_gradients="zero"
        )

    return [part.numpy() for part in evaluate(tf.constant(points, tf.float64))]
