"""What the page of the posteriors reads: a cell for each system on each posterior."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
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
    "tfp_windowed": "TFP windowed",
}
# Ours again, on parts of the machine: rows of a table of their own.
SPLIT = {
    "ppl_core_2_processes": "ours, chains in two processes, a metric for each chain",
    "ppl_core_2_devices": "ours, rows on two devices, loop not compiled",
}

NO_TIME = "no time left"  # how the reason begins of a run that did not begin

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

    @property
    def ran(self) -> bool:
        """Whether it ran in any round, to whatever end."""
        return any(record.status != "skipped" for record in self.records)

    def spread(self, quantity: Quantity) -> Spread | None:
        """A quantity's spread over the rounds; None where the cell failed."""
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
    """The cells by number of chains, posterior and system.

    Without those of SPLIT, and those that `unfinished` names, which some systems
    reached and others not.
    """
    left_out = unfinished(made)
    found: dict[int, dict[str, dict[str, Cell]]] = {}
    for cell in made:
        if cell.system in SPLIT:
            continue
        if (cell.posterior, cell.num_chains) not in left_out:
            by_posterior = found.setdefault(cell.num_chains, {})
            by_posterior.setdefault(cell.posterior, {})[cell.system] = cell
    return found


def split(made: Sequence[Cell]) -> list[Cell]:
    """The cells of SPLIT, each posterior's after ours whole."""
    parts = [cell for cell in made if cell.system in SPLIT]
    found = []
    for place in dict.fromkeys((cell.posterior, cell.num_chains) for cell in parts):
        at_place = [c for c in made if (c.posterior, c.num_chains) == place]
        found += [c for c in at_place if c.system == OURS]
        found += [c for c in at_place if c.system in SPLIT]
    return found


def unfinished(made: Sequence[Cell]) -> list[tuple[str, int]]:
    """Posteriors and numbers of chains at which the benchmark's time was over."""
    cut = (
        (cell.posterior, cell.num_chains)
        for cell in made
        if any(record.reason.startswith(NO_TIME) for record in cell.records)
    )
    return list(dict.fromkeys(cut))


def systems_of(table: Mapping[str, Mapping[str, Cell]]) -> list[str]:
    """The systems of a table, in the order of LABELS, others after them."""
    present = {system for row in table.values() for system in row}
    return [s for s in LABELS if s in present] + sorted(present - LABELS.keys())


def ratios(
    table: Mapping[str, Mapping[str, Cell]],
    system: str,
    quantity: Quantity,
    over: str = OURS,
) -> dict[str, float]:
    """Ratios of `over`'s quantity to the system's, by posterior.

    Without the posteriors on which either has no speed.
    """
    found = {}
    for name, row in table.items():
        if system in row and over in row:
            one, other = row[over].median(quantity), row[system].median(quantity)
            if one and other:
                found[name] = one / other
    return found


def geometric_mean(values: Collection[float]) -> Spread | None:
    """Lowest, geometric mean and highest, the mean in the median's place."""
    if not values:
        return None
    mean = math.exp(sum(map(math.log, values)) / len(values))
    return Spread(min(values), mean, max(values))


def profile(
    table: Mapping[str, Mapping[str, Cell]], quantity: Quantity
) -> dict[str, list[float]]:
    """The best system's quantity over each system's own, by posterior.

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
