"""What the page of the posteriors reads: a cell for each system on each posterior."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from experiments.records.record import Record
from experiments.report import selection
from experiments.report.ratios import Spread, spread

OURS = "ppl_core"
LABELS = {
    OURS: "ours",
    "stan": "Stan",
    "pymc": "PyMC",
    "nutpie": "nutpie",
    "numpyro": "NumPyro",
    "blackjax": "BlackJAX",
    "tfp_windowed": "TFP, windowed",
}

Quantity = Callable[[Record], float]  # of a run that passed its check


class Cell(NamedTuple):
    """One system on one posterior with one number of chains."""

    posterior: str
    num_chains: int
    system: str
    records: Sequence[Record]

    @property
    def failure(self) -> str:
        """Why it has no speed: "" where it passed in every round."""
        return selection.failure(self.records)

    def spread(self, quantity: Quantity) -> Spread | None:
        """Of a quantity over the rounds; None where the cell failed."""
        if self.failure:
            return None
        return spread(quantity(record) for record in self.records)

    def median(self, quantity: Quantity) -> float | None:
        values = self.spread(quantity)
        return None if values is None else values.median


def ess_per_second(record: Record) -> float:
    """The smallest bulk ESS over the seconds of sampling."""
    return min_ess(record) / phase("sampling")(record)


def ess_per_second_warm(record: Record) -> float:
    """The smallest bulk ESS over the seconds of warm-up and sampling."""
    return min_ess(record) / (phase("warmup")(record) + phase("sampling")(record))


def ess_per_second_cold(record: Record) -> float:
    """The smallest bulk ESS over the seconds from the process's start."""
    return min_ess(record) / phase("cold")(record)


def gradients_per_ess(record: Record) -> float:
    """Gradients of sampling that the chains used, over the smallest bulk ESS."""
    return float(record.work["gradients"][0]) / min_ess(record)


def gradients_per_second(record: Record) -> float:
    """Gradients that the chains used, warm-up included."""
    num = float(record.work["gradients"][0] + record.work["warmup_gradients"])
    return num / (phase("warmup")(record) + phase("sampling")(record))


def min_ess(record: Record) -> float:
    return float(record.check["min_ess_bulk"])


def phase(name: str) -> Quantity:
    """The seconds of "build", "warmup", "sampling" or "cold", a millisecond at least.

    A millisecond is the resolution of Stan's clock.
    """
    return lambda record: max(float(record.seconds[name]), 1e-3)


def cells(records: Sequence[Record]) -> list[Cell]:
    """The cells of the newest benchmark, in the order in which they ran.

    Raises ValueError as `selection.newest` does.
    """
    groups: dict[tuple[str, int, str], list[Record]] = {}
    for record in selection.newest(records):
        key = (record.problem["name"], record.settings["num_chains"], record.system)
        groups.setdefault(key, []).append(record)
    return [Cell(*key, group) for key, group in groups.items()]


def by_chains(made: Sequence[Cell]) -> dict[int, dict[str, dict[str, Cell]]]:
    """The cells by number of chains, posterior and system."""
    found: dict[int, dict[str, dict[str, Cell]]] = {}
    for cell in made:
        by_posterior = found.setdefault(cell.num_chains, {})
        by_posterior.setdefault(cell.posterior, {})[cell.system] = cell
    return found


def systems_of(table: Mapping[str, Mapping[str, Cell]]) -> list[str]:
    """The systems of a table, in the order of LABELS, others after them."""
    present = {system for row in table.values() for system in row}
    return [s for s in LABELS if s in present] + sorted(present - LABELS.keys())


def geometric_mean(
    table: Mapping[str, Mapping[str, Cell]],
    system: str,
    quantity: Quantity,
    over: str = OURS,
) -> tuple[float | None, int]:
    """Of `over`'s quantity over the system's, and over how many posteriors.

    Posteriors on which either has no speed do not count.
    """
    logs = []
    for row in table.values():
        if system in row and over in row:
            one, other = row[over].median(quantity), row[system].median(quantity)
            if one and other:
                logs.append(math.log(one / other))
    return (math.exp(sum(logs) / len(logs)) if logs else None), len(logs)


def profile(
    table: Mapping[str, Mapping[str, Cell]], quantity: Quantity
) -> dict[str, list[float]]:
    """Of each system, by posterior, the best system's quantity over its own.

    1 where it is the best, infinity where it failed or was not run (Dolan and More
    2002).  More is better.  Posteriors on which every system failed do not count.
    """
    ratios: dict[str, list[float]] = {system: [] for system in systems_of(table)}
    for row in table.values():
        found = {system: cell.median(quantity) for system, cell in row.items()}
        best = max((value for value in found.values() if value), default=None)
        if best is None:
            continue
        for system, factors in ratios.items():
            value = found.get(system)
            factors.append(best / value if value else math.inf)
    return ratios
