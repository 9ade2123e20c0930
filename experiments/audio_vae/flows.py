"""The model-parallel autoregressive flow: each flow is split over the sequence.

The virtual topology has rows and columns of cores, and one more core that aggregates.
Node (row, column) is one part of one flow.  Two consecutive rows share a core in each
column.  A node reads its own part and the values next to it in one neighbour, so column
c passes only to columns c - 1, c and c + 1 of the next row.  Tran et al. (2018),
section 2.2 and figures 3 and 4.

Two things differ from the paper's listing.  The listing places a flow's inverse by its
index in the reversed list, on another core than its forward; here both are on the same
core.  And the listing leaves out the inside of a split flow; here the sequence is cut
into contiguous parts, and flows alternate their direction, left to right and right to
left, so that both neighbours are used.
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
# (weights, values [batch, receptive field + n]) -> shift and log-scale of the last n,
# [batch, n].  Entry t of either depends on the values before t alone.
Network = Callable[[Weights, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

SMALLEST, LARGEST = 1e-30, 1 - 2.0**-24  # float32 numbers inside (0, 1)


@dataclasses.dataclass(frozen=True)
class Part:
    """What one core computes of a flow: a stretch of the sequence."""

    core: int
    weights: Weights


@dataclasses.dataclass(frozen=True)
class SplitFlow:
    """One flow: y_t = x_t exp(s_t) + m_t, where s and m depend on the y before t.

    Papamakarios et al. (2017), Masked Autoregressive Flow.  The inverse, which
    densities need, is one pass over all t.  The forward is serial.
    """

    network: Network
    receptive_field: int  # values of the neighbour that a part reads
    parts: tuple[Part, ...]  # contiguous, of equal length, left to right
    backwards: bool = False  # whether "before" means to the right

    def without_parts(self) -> "SplitFlow":
        """What all parts have in common: a key for caches."""
        return dataclasses.replace(self, parts=())

    def neighbour(self, number: int) -> int | None:
        """The part whose values come before those of this one; None for the first."""
        before = number + 1 if self.backwards else number - 1
        exists = self.receptive_field and 0 <= before < len(self.parts)
        return before if exists else None

    def edge(self, y: tf.Tensor) -> tf.Tensor:
        """What the part after this one reads: [batch, receptive field], in order."""
        if self.backwards:
            return tf.reverse(y[:, : self.receptive_field], [1])
        return y[:, y.shape[1] - self.receptive_field :]

    def inverse_of_part(
        self, weights: Weights, y: tf.Tensor, before: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """x, and its log determinant [batch] with respect to y.

        before: the neighbour's edge; None for the first part, which reads zeros.
        """
        y = tf.reverse(y, [1]) if self.backwards else y
        shift, log_scale = self.network(weights, self._window(y, before))
        x = (y - shift) * tf.exp(-log_scale)
        x = tf.reverse(x, [1]) if self.backwards else x
        return x, -tf.reduce_sum(log_scale, -1)

    def forward_of_part(
        self, weights: Weights, x: tf.Tensor, before: tf.Tensor | None
    ) -> tf.Tensor:
        """y, in as many passes as the part has values: pass t computes entry t."""
        x = tf.reverse(x, [1]) if self.backwards else x

        def body(number: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            shift, log_scale = self.network(weights, self._window(y, before))
            new = x * tf.exp(log_scale) + shift
            # Entries after this one are not yet meaningful and may overflow: zeros.
            is_done = tf.range(x.shape[1]) < number
            is_ahead = tf.range(x.shape[1]) > number
            new = tf.where(is_done, y, tf.where(is_ahead, tf.zeros_like(y), new))
            return number + 1, new

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
            before = tf.zeros((y.shape[0], self.receptive_field), y.dtype)
        return tf.concat([before, y], -1)


class DistributedAutoregressiveFlow(tfb.Bijector):
    """A chain of split flows, whose parts are placed on cores.

    Events are sequences [length]; there is one batch dimension.  Forward turns noise
    into data, and is serial.  The inverse and the log determinants of data are one pass
    through every flow.
    """

    def __init__(
        self, flows: Sequence[SplitFlow], name: str = "DistributedAutoregressiveFlow"
    ) -> None:
        """flows: in the order of forward, the aggregating one last."""
        parameters = dict(locals())
        self.flows = tuple(flows)
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

    def _forward(self, x: tf.Tensor) -> tf.Tensor:
        parts = [x]
        for flow in self.flows:
            parts = _cut(parts, len(flow.parts))
            parts = _forward_of_flow(flow, parts)
        return _joined(parts)

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        return self._inverse_and_log_det(y)[0]

    def _inverse_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        return self._inverse_and_log_det(y)[1]

    # TFP derives forward_log_det_jacobian from this one, with the y that it has cached
    # for an x.  One of x alone would have to run the serial forward again.

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The inverse and its log determinant [batch]; a density asks for each.

        Those of the last y are cached, so that the networks run once.
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
        inverse = self.flows[::-1]
        for flow, after in zip(inverse, [*inverse[1:], None], strict=True):
            if len(parts) != len(flow.parts):
                parts, edges = _cut(parts, len(flow.parts)), None
            if edges is None:
                edges = [flow.edge(part) for part in parts]
            parts, edges, part_log_dets = _inverse_of_flow(flow, parts, edges, after)
            log_dets += part_log_dets
        return _joined(parts), tf.add_n(log_dets)


def _inverse_of_flow(
    flow: SplitFlow,
    parts: Sequence[tf.Tensor],
    edges: Sequence[tf.Tensor],
    after: SplitFlow | None,
) -> tuple[list[tf.Tensor], list[tf.Tensor] | None, list[tf.Tensor]]:
    """Each part's inverse, the edge that neighbours in flow `after` read, log dets.

    Each edge is cut on its part's core, so that nothing more is passed on.
    """
    aligned = after is not None and len(after.parts) == len(parts)
    run = _inverse_function(
        flow.without_parts(), after.without_parts() if aligned and after else None
    )
    results = []
    for number, (part, y) in enumerate(zip(flow.parts, parts, strict=True)):
        neighbour = flow.neighbour(number)
        before = () if neighbour is None else (edges[neighbour],)
        results.append(on_core(part.core, run, part.weights, y, *before))
    inverses, log_dets = ([result[i] for result in results] for i in (0, 1))
    return inverses, [result[2] for result in results] if aligned else None, log_dets


def _forward_of_flow(flow: SplitFlow, parts: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Each part's forward, in the flow's order: each part needs the one before it."""
    run = _forward_function(flow.without_parts())
    results: dict[int, list[tf.Tensor]] = {}
    numbers = range(len(parts))
    for number in reversed(numbers) if flow.backwards else numbers:
        part, neighbour = flow.parts[number], flow.neighbour(number)
        before = () if neighbour is None else (results[neighbour][1],)
        results[number] = on_core(part.core, run, part.weights, parts[number], *before)
    return [results[number][0] for number in numbers]


# Nodes of a kind share one traced function: tracing all 66, and their gradients, would
# take a minute.


@functools.cache
def _inverse_function(
    flow: SplitFlow, after: SplitFlow | None
) -> Callable[..., list[tf.Tensor]]:
    """(weights, y, edge of the part before) -> x, log determinant, edge for `after`."""

    def run(weights: Weights, y: tf.Tensor, *before: tf.Tensor) -> list[tf.Tensor]:
        x, log_det = flow.inverse_of_part(weights, y, before[0] if before else None)
        return [x, log_det] if after is None else [x, log_det, after.edge(x)]

    return graph_function(run)


@functools.cache
def _forward_function(flow: SplitFlow) -> Callable[..., list[tf.Tensor]]:
    """(weights, x, edge of the part before) -> y and its edge."""

    def run(weights: Weights, x: tf.Tensor, *before: tf.Tensor) -> list[tf.Tensor]:
        y = flow.forward_of_part(weights, x, before[0] if before else None)
        return [y, flow.edge(y)]

    return graph_function(run)


def graph_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """A graph function, which TensorFlow calls by name and on the caller's device."""
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


class _OfEachNumber(tfb.Bijector):
    """A bijector of each number by itself, without parameters."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(
            forward_min_event_ndims=0,
            dtype=tf.float32,
            parameters=dict(locals()),
            name=name or type(self).__name__,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> dict:
        return {}


class LogisticQuantile(_OfEachNumber):
    """Maps the unit interval to the line: log(u / (1 - u)).

    The base noise of prior and decoder is uniform, as in the paper.  An affine flow
    leaves the unit interval, where a uniform density is 0 and its logarithm -inf.  With
    this bijector below the flow the base is logistic, and every real value has a
    density.  (tfb.Sigmoid rounds to 1 from 17 on, which is outside the interval.)
    """

    def _forward(self, u: tf.Tensor) -> tf.Tensor:
        return tf.math.log(u) - tf.math.log1p(-u)

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(tf.sigmoid(y), SMALLEST, LARGEST)

    def _inverse_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        return -tf.math.softplus(y) - tf.math.softplus(-y)


class Sinh(_OfEachNumber):
    """sinh(x): gives noise tails that fall as a power, not exponentially.

    The first sample of a plucked string comes after silence.  A logistic density with
    the scale of silence would cost as many nats as the sample is scales away; this one
    costs the logarithm of that number.
    """

    def _forward(self, x: tf.Tensor) -> tf.Tensor:
        return tf.sinh(x)

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        return tf.asinh(y)

    def _inverse_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        return -0.5 * tf.math.log1p(y * y)
