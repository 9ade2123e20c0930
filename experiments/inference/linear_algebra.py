"""Cholesky factors and triangular solves that XLA compiles well for a CPU.

XLA's own loop over rows has a product of a row and a matrix in each turn, which it
computes one number after another.  Here each turn updates all entries at once, and
blocks of a large matrix meet in products of matrices (Golub and Van Loan 2013, sections
4.2.5 and 3.1.4).
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

BLOCK = 64  # rows that a loop goes through


def cholesky(matrix: tf.Tensor) -> tf.Tensor:
    """The lower L of L L^T = matrix, as `tf.linalg.cholesky`; no gradient.

    matrix: [..., n, n] of known shape, of which the lower triangle is read.

    The lower triangle of a matrix that is not positive definite is NaN.
    """
    shape = matrix.shape
    n = shape[-1]
    lower = tf.linalg.band_part(tf.reshape(matrix, [-1, n, n]), -1, 0)
    factor = _cholesky(lower)
    is_positive = tf.reduce_all(tf.linalg.diag_part(factor) > 0, axis=-1)
    factor = tf.where(
        is_positive[:, tf.newaxis, tf.newaxis],
        factor,
        tf.constant(float("nan"), factor.dtype),
    )
    return tf.reshape(tf.linalg.band_part(factor, -1, 0), shape)


def triangular_solve(
    matrix: tf.Tensor, rhs: tf.Tensor, *, lower: bool, adjoint: bool
) -> tf.Tensor:
    """`tf.linalg.triangular_solve` of real numbers; no gradient.

    matrix: [..., n, n] of known shape.
    rhs: [..., n, m] of known shape, whose leading axes broadcast with the matrix's.
    """
    batch = tf.broadcast_static_shape(matrix.shape[:-2], rhs.shape[:-2])
    n, m = rhs.shape[-2:]
    shape = [*batch, n, m]
    matrix = tf.reshape(tf.broadcast_to(matrix, [*batch, n, n]), [-1, n, n])
    rhs = tf.reshape(tf.broadcast_to(rhs, shape), [-1, n, m])
    columns = matrix if adjoint else tf.linalg.matrix_transpose(matrix)
    solution = _substitute(columns, tf.linalg.matrix_transpose(rhs), lower != adjoint)
    return tf.reshape(tf.linalg.matrix_transpose(solution), shape)


def _cholesky(matrix: tf.Tensor) -> tf.Tensor:
    """The factors of the lower triangles of symmetric matrices, [batch, n, n]."""
    n = matrix.shape[-1]
    if n > BLOCK:
        half = _half(n)
        first = _cholesky(matrix[:, :half, :half])
        below = _substitute(
            tf.linalg.matrix_transpose(first), matrix[:, half:, :half], True
        )
        rest = matrix[:, half:, half:] - tf.matmul(below, below, transpose_b=True)
        top = tf.concat([first, tf.zeros_like(matrix[:, :half, half:])], axis=2)
        return tf.concat([top, tf.concat([below, _cholesky(rest)], axis=2)], axis=1)
    later = tf.range(n)

    def eliminate(j: tf.Tensor, work: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Subtracts multiples of row j from the rows below, so that column j is 0."""
        row = work[:, j]
        multiple = tf.where(later > j, row / row[:, j, tf.newaxis], tf.zeros_like(row))
        return j + 1, work - multiple[:, :, tf.newaxis] * row[:, tf.newaxis, :]

    work = _loop(n, eliminate, tf.linalg.matrix_transpose(matrix))
    root = tf.sqrt(tf.linalg.diag_part(work))
    return tf.linalg.matrix_transpose(work / root[:, :, tf.newaxis])


def _substitute(columns: tf.Tensor, rhs: tf.Tensor, forward: bool) -> tf.Tensor:
    """The x of M x = r for each row r of a right-hand side, as rows.

    columns: [batch, n, n], those of M, of which only one triangle is read.
    rhs: [batch, m, n].
    forward: whether M is lower, and its first row comes first.
    """
    n = columns.shape[-1]
    if n > BLOCK:
        half = _half(n)
        first, second = slice(None, half), slice(half, None)
        if not forward:
            first, second = second, first
        x = _substitute(columns[:, first, first], rhs[:, :, first], forward)
        rest = rhs[:, :, second] - tf.matmul(x, columns[:, first, second])
        y = _substitute(columns[:, second, second], rest, forward)
        return tf.concat([x, y] if forward else [y, x], axis=2)
    diagonal = tf.linalg.diag_part(columns)
    strict = tf.linalg.band_part(columns, *((0, -1) if forward else (-1, 0)))
    strict = tf.linalg.set_diag(strict, tf.zeros_like(diagonal))
    strict = strict / diagonal[:, :, tf.newaxis]

    def subtract(i: tf.Tensor, work: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Takes the part of unknown j from the equations after it."""
        j = i if forward else n - 1 - i
        part = work[:, :, j, tf.newaxis] * strict[:, j, tf.newaxis, :]
        return i + 1, work - part

    return _loop(n, subtract, rhs) / diagonal[:, tf.newaxis, :]


def _loop(turns: int, body: Callable[..., Any], work: tf.Tensor) -> tf.Tensor:
    _, work = tf.while_loop(
        lambda i, _: i < turns, body, (tf.constant(0), work), parallel_iterations=1
    )
    return work


def _half(n: int) -> int:
    """About half of the rows, in whole blocks."""
    return -(-n // (2 * BLOCK)) * BLOCK
