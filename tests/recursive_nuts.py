"""No-U-Turn transitions by recursion, in plain NumPy: slow, and easy to check by eye.

Two oracles for the iterative kernel: Stan's multinomial transition, which takes the
kernel's own random decisions and must build the same tree, and the slice sampler of
Hoffman & Gelman (2014), which has the same stationary law and nothing else in common.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

LogProbAndGrad = Callable[[np.ndarray], tuple[float, np.ndarray]]
MAX_ENERGY_ERROR = 1000.0


class Point(NamedTuple):
    """A point of phase space; log_prob and grad are those of position."""

    position: np.ndarray  # [dim]
    momentum: np.ndarray  # [dim]
    log_prob: float
    grad: np.ndarray  # [dim]


class Transition(NamedTuple):
    """What one multinomial transition did."""

    draw: np.ndarray  # [dim]
    leapfrogs: int
    depth: int
    accept: float
    diverged: bool
    leaves: np.ndarray  # [leaves, dim], of the accepted trajectory, the start first
    probabilities: np.ndarray  # [leaves], of each to be the draw, decisions apart


def leapfrog(
    z: Point,
    log_prob_and_grad: LogProbAndGrad,
    step_size: float,
    inverse_mass: np.ndarray,
) -> Point:
    """One kick, drift, kick."""
    momentum = z.momentum + step_size / 2 * z.grad
    position = z.position + step_size * inverse_mass * momentum
    log_prob, grad = log_prob_and_grad(position)
    return Point(position, momentum + step_size / 2 * grad, log_prob, grad)


def energy(z: Point, inverse_mass: np.ndarray) -> float:
    """The Hamiltonian, NaN read as infinite."""
    value = 0.5 * np.sum(inverse_mass * z.momentum**2) - z.log_prob
    return np.inf if np.isnan(value) else float(value)


class _Piece(NamedTuple):
    """Consecutive leaves of a trajectory."""

    first: Point
    last: Point
    sum_momentum: np.ndarray
    leaves: tuple[Point, ...]
    log_weights: tuple[float, ...]

    def backwards(self) -> "_Piece":
        return self._replace(first=self.last, last=self.first)

    def log_weight(self) -> float:
        return float(np.logaddexp.reduce(self.log_weights))


def _leaf(z: Point, log_weight: float) -> _Piece:
    return _Piece(z, z, z.momentum, (z,), (log_weight,))


def _join(left: _Piece, right: _Piece) -> _Piece:
    return _Piece(
        first=left.first,
        last=right.last,
        sum_momentum=left.sum_momentum + right.sum_momentum,
        leaves=left.leaves + right.leaves,
        log_weights=left.log_weights + right.log_weights,
    )


def _turning(left: _Piece, right: _Piece, inverse_mass: np.ndarray) -> bool:
    def apart(summed: np.ndarray, one: Point, other: Point) -> bool:
        velocity = inverse_mass * summed
        return velocity @ one.momentum > 0 and velocity @ other.momentum > 0

    whole = left.sum_momentum + right.sum_momentum
    return not (
        apart(whole, left.first, right.last)
        and apart(left.sum_momentum + right.first.momentum, left.first, right.first)
        and apart(right.sum_momentum + left.last.momentum, left.last, right.last)
    )


class Step(NamedTuple):
    """What a leaf of a trajectory took."""

    point: Point | None  # None: there is none, and the doubling stops
    gradients: int
    accept: float
    diverged: bool


def nuts_step(
    z: Point,
    log_prob_and_grad: LogProbAndGrad,
    signed_step: float,
    inverse_mass: np.ndarray,
    start_energy: float,
) -> Step:
    """One leapfrog."""
    z = leapfrog(z, log_prob_and_grad, signed_step, inverse_mass)
    error = energy(z, inverse_mass) - start_energy
    return Step(z, 1, min(1.0, np.exp(-error)) if error > 0 else 1.0, False)


def multinomial_transition(
    log_prob_and_grad: LogProbAndGrad,
    position: np.ndarray,
    *,
    take_step: Callable[..., Step] = nuts_step,
    momentum: np.ndarray,
    forwards: np.ndarray,  # [max_depth] bool: the direction of each doubling
    doubling_u: np.ndarray,  # [max_depth]: decides whether its draw is taken
    leaf_u: np.ndarray,  # [leaves or more]: decides the draw within a doubling
    step_size: float,
    inverse_mass: np.ndarray,
) -> Transition:
    """Stan's transition, every random decision given (base_nuts.hpp of Stan 2.21).

    One thing is unlike Stan's: the draw of a subtree is found leaf by leaf, each taken
    with its share of the weight so far, and not half by half. The law is the same.
    """
    start = Point(position, momentum, *log_prob_and_grad(position))
    start_energy = energy(start, inverse_mass)
    leapfrogs, begun, sum_accept, diverged = 0, 0, 0.0, False

    def build(z: Point, depth: int, signed_step: float) -> _Piece | None:
        """The 2^depth leaves that follow `z`, or None where one of them stops it."""
        nonlocal leapfrogs, begun, sum_accept, diverged
        if depth == 0:
            step = take_step(
                z, log_prob_and_grad, signed_step, inverse_mass, start_energy
            )
            begun += 1
            leapfrogs += step.gradients
            sum_accept += step.accept
            diverged |= step.diverged
            if step.point is None:
                return None
            error = energy(step.point, inverse_mass) - start_energy
            if error > MAX_ENERGY_ERROR:
                diverged = True
                return None
            return _leaf(step.point, -error)
        left = build(z, depth - 1, signed_step)
        if left is None:
            return None
        right = build(left.last, depth - 1, signed_step)
        if right is None or _turning(left, right, inverse_mass):
            return None
        return _join(left, right)

    tree = _leaf(start, 0.0)
    leaves, probabilities = [position], np.ones(1)
    draw, depth = position, 0
    for forward, u in zip(forwards, doubling_u, strict=True):
        edge, signed_step = (
            (tree.last, step_size) if forward else (tree.first, -step_size)
        )
        before = begun
        new = build(edge, depth, signed_step)
        if new is None:
            break
        depth += 1
        weights = np.exp(np.array(new.log_weights) - new.log_weight())
        take = min(1.0, np.exp(new.log_weight() - tree.log_weight()))
        if u < take:
            shares = weights / np.cumsum(weights)
            taken = leaf_u[before:begun] < shares
            draw = new.leaves[np.flatnonzero(taken)[-1] if taken.any() else 0].position
        leaves += [z.position for z in new.leaves]
        probabilities = np.concatenate([(1 - take) * probabilities, take * weights])
        left, right = (tree, new) if forward else (new.backwards(), tree)
        tree = _join(left, right)
        if _turning(left, right, inverse_mass):
            break
    return Transition(
        draw=draw,
        leapfrogs=leapfrogs,
        depth=depth,
        accept=sum_accept / begun,
        diverged=diverged,
        leaves=np.array(leaves),
        probabilities=probabilities,
    )


def walnuts_step(max_energy_error: float, max_level: int) -> Callable[..., Step]:
    """The macro steps of WALNUTS: one of 2^level leapfrogs that comes back as it went.

    Bou-Rabee, Carpenter, Kleppe & Liu (2026), the deterministic choice of the level.
    """

    def take_step(
        start: Point,
        log_prob_and_grad: LogProbAndGrad,
        signed_step: float,
        inverse_mass: np.ndarray,
        start_energy: float,
    ) -> Step:
        gradients = 0

        def way(z: Point, step: float, level: int) -> Point | None:
            """The end of 2^level leapfrogs, or None where the energy's range ends."""
            nonlocal gradients
            energies = [energy(z, inverse_mass)]
            for _ in range(2**level):
                z = leapfrog(z, log_prob_and_grad, step / 2**level, inverse_mass)
                energies.append(energy(z, inverse_mass))
                gradients += 1
                if max(energies) - min(energies) > max_energy_error:
                    return None
            return z

        first = leapfrog(start, log_prob_and_grad, signed_step, inverse_mass)
        error = energy(first, inverse_mass) - energy(start, inverse_mass)
        accept = np.exp(-abs(error))
        for level in range(max_level + 1):
            end = way(start, signed_step, level)
            if end is not None:
                break
        else:
            return Step(None, gradients, accept, True)
        for lower in reversed(range(level)):
            if way(end, -signed_step, lower) is not None:
                return Step(None, gradients, accept, False)
        return Step(end, gradients, accept, False)

    return take_step


def slice_transition(
    rng: np.random.Generator,
    log_prob_and_grad: LogProbAndGrad,
    position: np.ndarray,
    *,
    step_size: float,
) -> np.ndarray:
    """One transition of Hoffman & Gelman (2014), algorithm 3: the next position."""
    identity = np.ones_like(position)
    momentum = rng.standard_normal(position.shape)
    start = Point(position, momentum, *log_prob_and_grad(position))
    log_u = np.log(rng.uniform()) - energy(start, identity)

    def goes_on(minus: Point, plus: Point) -> bool:
        span = plus.position - minus.position
        return bool(span @ minus.momentum >= 0 and span @ plus.momentum >= 0)

    def build(z: Point, depth: int, direction: int) -> tuple:
        """The ends, the proposal, the points within the slice, and whether to go on."""
        if depth == 0:
            z = leapfrog(z, log_prob_and_grad, direction * step_size, identity)
            log_joint = -energy(z, identity)
            return (
                z,
                z,
                z,
                int(log_u <= log_joint),
                log_u - MAX_ENERGY_ERROR < log_joint,
            )
        minus, plus, proposal, num, on = build(z, depth - 1, direction)
        if not on:
            return minus, plus, proposal, num, False
        minus, plus, other, other_num, on = grow(minus, plus, depth - 1, direction)
        if other_num and rng.uniform() < other_num / (num + other_num):
            proposal = other
        return minus, plus, proposal, num + other_num, on and goes_on(minus, plus)

    def grow(minus: Point, plus: Point, depth: int, direction: int) -> tuple:
        if direction < 0:
            minus, _, other, num, on = build(minus, depth, direction)
        else:
            _, plus, other, num, on = build(plus, depth, direction)
        return minus, plus, other, num, on

    minus = plus = start
    draw, num, depth, on = position, 1, 0, True
    while on:
        direction = 1 if rng.uniform() < 0.5 else -1
        minus, plus, other, other_num, on = grow(minus, plus, depth, direction)
        if on and rng.uniform() < other_num / num:
            draw = other.position
        num += other_num
        on = on and goes_on(minus, plus)
        depth += 1
    return draw
