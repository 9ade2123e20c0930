"""The model-parallel autoregressive flow: flows cut over the sequence, each on cores.

A virtual topology of rows and columns of cores, and one more that aggregates.  Node
(row, column) is one part of one flow; two consecutive rows share a core a column.  A
node reads its own part and, of one neighbour, the values next to it, so that it passes
to columns c - 1, c and c + 1 of the next row alone.  Tran et al. (2018), section 2.2
and figures 3 and 4.

Two things differ from the paper's listing.  It places a flow's inverse by the index in
the reversed list, which is another core than its forward's: here both are on one.  And
it leaves out what is inside a split flow: here the sequence is cut into contiguous
parts, and flows take turns in their order, left to right and right to left, so that
both neighbours are used.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from experiments.engines.manual_placement import on_core

tfb = tfp.bijectors

Weights = Mapping[str, tf.Tensor]
# (weights, values [batch, reach + n]) -> shift and log-scale of the last n, [batch, n],
# entry t of either being of the values before t alone.
Network = Callable[[Weights, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

SMALLEST, LARGEST = 1e-30, 1 - 2.0**-24  # inside of (0, 1), as float32 has it


@dataclasses.dataclass(frozen=True)
class Part:
    """What one core does of a flow: its stretch of the sequence, and the weights."""

    core: int
    weights: Weights


@dataclasses.dataclass(frozen=True)
class SplitFlow:
    """One flow: y_t = x_t exp(s_t) + m_t, with s and m of the y before t in its order.

    Papamakarios et al. (2017), Masked Autoregressive Flow: the inverse, which densities
    need, is one pass over all t; the forward is serial.
    """

    network: Network
    reach: int  # values of the neighbour that a part reads
    parts: tuple[Part, ...]  # contiguous, of one length, left to right
    backwards: bool = False  # whether "before" means to the right

    def bare(self) -> "SplitFlow":
        """The same without its parts: what they have in common."""
        return dataclasses.replace(self, parts=())

    def neighbour(self, number: int) -> int | None:
        """The part whose values come before those of this one; None: it is first."""
        found = number + 1 if self.backwards else number - 1
        return found if self.reach and 0 <= found < len(self.parts) else None

    def edge(self, y: tf.Tensor) -> tf.Tensor:
        """Of a part, what the part after it reads: [batch, reach], in the order."""
        if self.backwards:
            return tf.reverse(y[:, : self.reach], [1])
        return y[:, y.shape[1] - self.reach :]

    def inverse_of_part(
        self, weights: Weights, y: tf.Tensor, before: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """x, and the log determinant [batch] of it by y.

        before: the neighbour's edge; None: there is none, and zeros stand for it.
        """
        y = tf.reverse(y, [1]) if self.backwards else y
        shift, log_scale = self.network(weights, self._window(y, before))
        x = (y - shift) * tf.exp(-log_scale)
        x = tf.reverse(x, [1]) if self.backwards else x
        return x, -tf.reduce_sum(log_scale, -1)

    def forward_of_part(
        self, weights: Weights, x: tf.Tensor, before: tf.Tensor | None
    ) -> tf.Tensor:
        """y, by as many passes as the part has values: the t-th gets entry t right."""
        x = tf.reverse(x, [1]) if self.backwards else x

        def body(number: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            shift, log_scale = self.network(weights, self._window(y, before))
            better = x * tf.exp(log_scale) + shift
            # What is right stays as it is: what is not may be anything meanwhile.
            right = tf.range(x.shape[1]) < number
            ahead = tf.range(x.shape[1]) > number
            better = tf.where(right, y, tf.where(ahead, tf.zeros_like(y), better))
            return number + 1, better

        _, y = tf.while_loop(
            lambda number, _: number < x.shape[1],
            body,
            (tf.constant(0), tf.zeros_like(x)),
            parallel_iterations=1,
            maximum_iterations=x.shape[1],
        )
        return tf.reverse(y, [1]) if self.backwards else y

    def _window(self, y: tf.Tensor, before: tf.Tensor | None) -> tf.Tensor:
        if before is None:
            before = tf.zeros((y.shape[0], self.reach), y.dtype)
        return tf.concat([before, y], -1)


class DistributedAutoregressiveFlow(tfb.Bijector):
    """Split flows, one after another, each part of each on a core of its own.

    Events are sequences [length], and batches of them have one dimension.  Forward
    makes data of noise, and is serial; the inverse and both log determinants of data
    are one pass through every flow.
    """

    def __init__(
        self,
        flows: Sequence[SplitFlow],
        name: str = "DistributedAutoregressiveFlow",
    ) -> None:
        """flows: in the order of forward, the aggregating one last."""
        parameters = dict(locals())
        self._flows = tuple(flows)
        self._inverted: tuple[tf.Tensor, tf.Tensor, tf.Tensor] | None = None
        super().__init__(
            forward_min_event_ndims=1,
            dtype=tf.float32,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> dict:
        return {}

    @property
    def flows(self) -> tuple[SplitFlow, ...]:
        """In the order of forward."""
        return tuple(self._flows)

    def _forward(self, x: tf.Tensor) -> tf.Tensor:
        parts = [x]
        for flow in self._flows:
            parts = _cut(parts, len(flow.parts))
            parts = _forward_of_flow(flow, parts)
        return _joined(parts)

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        return self._both(y)[0]

    def _inverse_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        return self._both(y)[1]

    # TFP has the other log determinant of this one, by the y that it keeps of an x: for
    # a density, the y that x is the inverse of.  One of x alone would go forward again.

    def _both(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The inverse and its log determinant [batch]: a density asks for either.

        Those of the last y are kept, or the networks would be computed twice.
        """
        if self._inverted is None or self._inverted[0] is not y:
            self._inverted = (y, *self._invert(y))
        return self._inverted[1], self._inverted[2]

    def _invert(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if y.shape.rank != 2:
            raise ValueError(f"{self.name}: given {y.shape}, wanted [batch, length]")
        parts: list[tf.Tensor] = [y]
        edges: list[tf.Tensor] | None = None
        log_dets: list[tf.Tensor] = []
        for flow, after in zip(
            reversed(self._flows), [*reversed(self._flows[:-1]), None], strict=True
        ):
            if len(parts) != len(flow.parts):
                parts, edges = _cut(parts, len(flow.parts)), None
            if edges is None:
                edges = [flow.edge(part) for part in parts]
            parts, edges, found = _inverse_of_flow(flow, parts, edges, after)
            log_dets += found
        return _joined(parts), tf.add_n(log_dets)


def _inverse_of_flow(
    flow: SplitFlow,
    parts: Sequence[tf.Tensor],
    edges: Sequence[tf.Tensor],
    after: SplitFlow | None,
) -> tuple[list[tf.Tensor], list[tf.Tensor] | None, list[tf.Tensor]]:
    """Each part's inverse, what its neighbours in flow `after` need of it, log dets.

    The edges are cut where the part is: no more than they are passed on.
    """
    cuts = after is not None and len(after.parts) == len(parts)
    run = _inverse_once(flow.bare(), after.bare() if cuts and after else None)
    made = []
    for number, (part, y) in enumerate(zip(flow.parts, parts, strict=True)):
        beside = flow.neighbour(number)
        before = () if beside is None else (edges[beside],)
        made.append(on_core(part.core, run, part.weights, y, *before))
    following = [results[2] for results in made] if cuts else None
    return [results[0] for results in made], following, [r[1] for r in made]


def _forward_of_flow(flow: SplitFlow, parts: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Each part's forward, in the flow's order: a part needs the one before whole."""
    run = _forward_once(flow.bare())
    made: dict[int, list[tf.Tensor]] = {}
    numbers = range(len(parts))
    for number in reversed(numbers) if flow.backwards else numbers:
        part, beside = flow.parts[number], flow.neighbour(number)
        before = () if beside is None else (made[beside][1],)
        made[number] = on_core(part.core, run, part.weights, parts[number], *before)
    return [made[number][0] for number in numbers]


# What nodes compute is traced once for all of a kind: the graph of 66 of them, and of
# their gradients, else takes a minute to make.


@functools.cache
def _inverse_once(
    flow: SplitFlow, after: SplitFlow | None
) -> Callable[..., list[tf.Tensor]]:
    """(weights, y, edge of the part before) -> x, log determinant, edge for `after`."""

    def run(weights: Weights, y: tf.Tensor, *before: tf.Tensor) -> list[tf.Tensor]:
        x, log_det = flow.inverse_of_part(weights, y, before[0] if before else None)
        return [x, log_det] if after is None else [x, log_det, after.edge(x)]

    return traced(run)


@functools.cache
def _forward_once(flow: SplitFlow) -> Callable[..., list[tf.Tensor]]:
    """(weights, x, edge of the part before) -> y and its edge."""

    def run(weights: Weights, x: tf.Tensor, *before: tf.Tensor) -> list[tf.Tensor]:
        y = flow.forward_of_part(weights, x, before[0] if before else None)
        return [y, flow.edge(y)]

    return traced(run)


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that TensorFlow calls by name, and takes for the caller's device."""
    return tf.function(function, autograph=False)


def _cut(parts: Sequence[tf.Tensor], number: int) -> list[tf.Tensor]:
    if len(parts) == number:
        return list(parts)
    whole = _joined(parts)
    if whole.shape[-1] % number:
        raise ValueError(
            f"flow: a sequence of {whole.shape[-1]} does not divide into {number} parts"
        )
    return tf.split(whole, number, -1)


def _joined(parts: Sequence[tf.Tensor]) -> tf.Tensor:
    return parts[0] if len(parts) == 1 else tf.concat(parts, -1)


class LogisticQuantile(tfb.Bijector):
    """Takes the unit interval to the line: log(u / (1 - u)).

    The base noise of prior and decoder is uniform, as in the paper, but an affine flow
    leaves the unit interval, beyond which a uniform density is 0 and its logarithm
    -inf.  With this below the flow the base is logistic, and every value on the line
    has a density.  (tfb.Sigmoid rounds to 1 from 17 on, which is out of the interval.)
    """

    def __init__(self, name: str = "LogisticQuantile") -> None:
        super().__init__(
            forward_min_event_ndims=0,
            dtype=tf.float32,
            parameters=dict(locals()),
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> dict:
        return {}

    def _forward(self, u: tf.Tensor) -> tf.Tensor:
        return tf.math.log(u) - tf.math.log1p(-u)

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(tf.sigmoid(y), SMALLEST, LARGEST)

    def _inverse_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        return -tf.math.softplus(y) - tf.math.softplus(-y)


class Sinh(tfb.Bijector):
    """sinh(x): gives noise tails that fall as a power, not as an exponential.

    The first sample of a plucked string comes after silence: by a logistic density of
    silence's scale it would cost as many nats as it is scales away, by this one their
    logarithm.
    """

    def __init__(self, name: str = "Sinh") -> None:
        super().__init__(
            forward_min_event_ndims=0,
            dtype=tf.float32,
            parameters=dict(locals()),
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> dict:
        return {}

    def _forward(self, x: tf.Tensor) -> tf.Tensor:
        return tf.sinh(x)

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        return tf.asinh(y)

    def _inverse_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        return -0.5 * tf.math.log1p(y * y)
