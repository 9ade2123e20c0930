"""The page of NUTS with warm-up on every posterior: Markdown and CSV."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.records.record import Record
from experiments.report import posteriors_rows as rows
from experiments.report import tables
from experiments.report.notes import note_lines
from experiments.report.posteriors_rows import LABELS, OURS, Cell
from experiments.report.ratios import Outcome, Spread

FAILED, NOT_RUN = "FAILED", "not run"
DEFINITIONS = (
    "Every system is given the same chains, draws, target acceptance and depth; its "
    "warm-up, starts and metric are its own. Each run is a fresh process.",
    "min-ESS/s: the smallest rank-normalised bulk ESS of all that is compared, over "
    "the seconds of the draws after warm-up.",
    "Cold start: seconds from the start of the process to the last draw, compilation "
    "included (of Stan's program too, whenever that was). What PyTensor keeps on disk "
    "begins empty for each posterior, so only the smallest number of chains, which "
    "runs first, is cold.",
    "A gradient is one leapfrog of one chain that was used; gradients of chains that "
    "wait for others are not counted, but their seconds are.",
    f"{FAILED}: |z| of a mean or of a mean of squares against the reference posterior "
    "is 5 or more, R-hat is 1.05 or more, an ESS is below 100, or the run ended "
    "without draws. Such a run has no speed, and counts as infinitely slow in the "
    "performance profile.",
    "A ratio to a system is over the posteriors that both systems got right: geometric "
    "mean, and the lowest and the highest posterior.",
)

Table = Mapping[str, Mapping[str, Cell]]


def markdown(made: Sequence[Cell]) -> str:
    """The whole page.  made: of `posteriors_rows.cells`."""
    records = [record for cell in made for record in cell.records]
    by_chains = rows.by_chains(made)
    targets = list(_targets(by_chains))
    parts = []
    for chains, table in by_chains.items():
        cold = chains == min(by_chains)
        parts += [
            f"## {chains} chains",
            "Ours over each system. More is better for min-ESS/s, less for the others.",
            tables.markdown_table(_means(table, cold)),
            "Ours on each posterior, and its ratios to Stan and nutpie:",
            tables.markdown_table(_lines(table, cold)),
        ]
    notes = note_lines(
        (
            cell.system,
            (LABELS | rows.SPLIT).get(cell.system, cell.system),
            cell.records,
        )
        for cell in made
    )
    return tables.markdown_page(
        "# NUTS with warm-up: effective draws per second",
        _finding(by_chains),
        tables.target_finding(targets) if targets else "No posterior was finished.",
        tables.target_table(targets, "ours (range over posteriors)") if targets else "",
        *parts,
        *_split(made),
        "## What failed, or did not run",
        tables.bullets([*_failures(by_chains), *_unfinished(made)]) or "Nothing.",
        *tables.how_measured(_settings(made, records), DEFINITIONS, list(notes)),
    )


def _finding(by_chains: Mapping[int, Table]) -> str:
    """The geometric means of the ratios, in a sentence a number of chains."""
    sentences = []
    for chains, table in by_chains.items():
        told = [
            f"{tables.number(mean.median)}x {LABELS.get(system, system)}"
            for system in rows.systems_of(table)
            if system != OURS
            and (mean := _ratios(table, system, rows.ess_per_second)) is not None
        ]
        if told:
            sentences.append(
                f"Effective draws per second of sampling with {chains} chains, as a "
                f"geometric mean over posteriors: ours is {', '.join(told)}."
            )
    return " ".join(sentences)


def _targets(by_chains: Mapping[int, Table]) -> list[Outcome]:
    """The targets of the numbers of chains that were measured."""
    outcomes = []
    for chains, system, bound in (
        (64, "nutpie", 2.0),
        (64, "stan", 10.0),
        (4, "nutpie", 0.5),
        (4, "stan", 1.0),
    ):
        if chains in by_chains:
            found = _ratios(by_chains[chains], system, rows.ess_per_second)
            claim = f"min-ESS/s with {chains} chains over {LABELS[system]}'s"
            reached = found is not None and found.median >= bound
            outcomes.append(_outcome(claim, f"at least {bound:g}x", found, reached))
    for chains, table in by_chains.items():
        found = _ratios(table, "stan", rows.gradients_per_ess)
        claim = f"gradients per ESS with {chains} chains over Stan's"
        outcomes.append(_on_each(claim, 1.15, found))
    for chains in sorted(by_chains)[:1]:
        for system, bound in (("stan", 1.0), ("numpyro", 1.5)):
            found = _ratios(by_chains[chains], system, rows.phase("cold"))
            claim = f"cold start with {chains} chains over {LABELS[system]}'s"
            outcomes.append(_on_each(claim, bound, found))
    return outcomes


def _on_each(claim: str, bound: float, found: Spread | None) -> Outcome:
    reached = found is not None and found.high <= bound
    return _outcome(claim, f"at most {bound:g}x on each", found, reached)


def _outcome(claim: str, target: str, found: Spread | None, reached: bool) -> Outcome:
    reason = "" if found else "no posterior that both got right"
    return Outcome(claim, target, found, reached, reason)


def _ratios(table: Table, system: str, quantity: rows.Quantity) -> Spread | None:
    return rows.geometric_mean(rows.ratios(table, system, quantity).values())


def _means(table: Table, cold: bool) -> list[dict[str, str | None]]:
    """A line for each other system."""
    quantities: dict[str, rows.Quantity] = {
        "min-ESS/s": rows.ess_per_second,
        "gradients per ESS": rows.gradients_per_ess,
    }
    if cold:
        quantities["cold start"] = rows.phase("cold")
    lines = []
    for system in rows.systems_of(table):
        run = [row[system] for row in table.values() if _ran(row, system)]
        right = sum(not cell.failure for cell in run)
        line: dict[str, str | None] = {
            "system": LABELS.get(system, system),
            "right": f"{right} of {len(run)}",
        }
        for name, quantity in quantities.items():
            line[name] = tables.with_range(_ratios(table, system, quantity), "x")
        lines.append(line if system != OURS else line | dict.fromkeys(quantities, "1"))
    return lines


def _lines(table: Table, cold: bool) -> list[dict[str, str | None]]:
    """A line for each posterior."""
    columns: dict[str, tuple[str, rows.Quantity]] = {
        "over Stan": ("stan", rows.ess_per_second),
        "over nutpie": ("nutpie", rows.ess_per_second),
        "gradients per ESS over Stan": ("stan", rows.gradients_per_ess),
    }
    if cold:
        columns["cold start over Stan"] = ("stan", rows.phase("cold"))
    lines = []
    for name, row in table.items():
        line: dict[str, str | None] = {"posterior": name, "min-ESS/s": NOT_RUN}
        if _ran(row, OURS):
            shown = tables.with_range(row[OURS].spread(rows.ess_per_second))
            line["min-ESS/s"] = FAILED if row[OURS].failure else shown
        for column, (system, quantity) in columns.items():
            line[column] = _compared(row, system, quantity)
        lines.append(line)
    return lines


def _split(made: Sequence[Cell]) -> list[str]:
    """The table of ours split over processes and devices, where it was measured."""
    lines = []
    for cell in rows.split(made):
        line: dict[str, str | None] = {
            "posterior": f"{cell.posterior}, {cell.num_chains} chains",
            "what": {OURS: "ours, whole", **rows.SPLIT}[cell.system],
            "min-ESS/s": NOT_RUN if not cell.ran else FAILED,
        }
        if not cell.failure:
            line["min-ESS/s"] = tables.with_range(cell.spread(rows.ess_per_second))
        for name in ("warmup", "sampling"):
            line[f"seconds of {name}"] = tables.with_range(
                cell.spread(rows.phase(name))
            )
        lines.append(line)
    if not lines:
        return []
    return [
        "## Ours, split",
        "The machine's cores are the same in each line: what is measured is what a "
        "split costs, and that warm-up works with it.",
        tables.markdown_table(lines),
    ]


def _compared(row: Mapping[str, Cell], system: str, quantity: rows.Quantity) -> str:
    """Ours over a system on one posterior, or why there is no ratio."""
    ratio = rows.ratios({"": row}, system, quantity).get("")
    if ratio is not None:
        return f"{tables.number(ratio)}x"
    if not _ran(row, system):
        return NOT_RUN
    return f"{LABELS[system]} {FAILED}" if row[system].failure else tables.NONE


def _ran(row: Mapping[str, Cell], system: str) -> bool:
    return system in row and row[system].ran


def _failures(by_chains: Mapping[int, Table]) -> list[str]:
    """A line for each posterior and number of chains on which a system failed."""
    lines = []
    for chains, table in by_chains.items():
        systems = rows.systems_of(table)
        for name, row in table.items():
            told = [
                f"{LABELS.get(system, system)} ({tables.cell(row[system].failure)})"
                for system in systems
                if _ran(row, system) and row[system].failure
            ]
            if told:
                lines.append(f"{name}, {chains} chains: {'; '.join(told)}.")
        for system in systems:
            missing = [name for name, row in table.items() if not _ran(row, system)]
            if missing:
                label = LABELS.get(system, system)
                names = "any" if len(missing) == len(table) else ", ".join(missing)
                lines.append(f"Not run, {chains} chains: {label} on {names}.")
    return lines


def _unfinished(made: Sequence[Cell]) -> list[str]:
    return [
        f"{name}, {chains} chains: not shown, since the benchmark's time was over "
        "before every system had run."
        for name, chains in rows.unfinished(made)
    ]


def _settings(made: Sequence[Cell], records: Sequence[Record]) -> list[str]:
    first = records[0].settings
    protocols = {cell.num_chains: cell.records[0].settings for cell in made}
    each = "; ".join(
        f"{chains} chains of {settings['num_warmup']:,} draws of warm-up and "
        f"{settings['num_draws']:,} draws"
        for chains, settings in protocols.items()
    )
    return [
        f"{tables.machine(records)}.",
        f"{each}; target acceptance {first['target_accept']}, depth at most "
        f"{first['max_depth']}.",
        f"{tables.rounds_line(records)}.",
        *tables.origin_lines(records),
    ]


def csv(made: Sequence[Cell]) -> str:
    """One line a cell: medians with ranges, work and checks."""
    return tables.csv_text(_csv_line(cell) for cell in made)


def _csv_line(cell: Cell) -> dict[str, Any]:
    ran = [record for record in cell.records if record.status == "ok"]
    last = ran[-1] if ran else None
    check = last.check if last else {}
    quantities = {
        "min_ess_per_second": rows.ess_per_second,
        "min_ess_per_second_warm": rows.ess_per_second_warm,
        "min_ess_per_second_cold": rows.ess_per_second_cold,
        "gradients_per_second": rows.gradients_per_second,
        "gradients_per_ess": rows.gradients_per_ess,
        "build_seconds": rows.phase("build"),
        "warmup_seconds": rows.phase("warmup"),
        "sampling_seconds": rows.phase("sampling"),
        "cold_seconds": rows.phase("cold"),
        "min_ess": rows.min_ess,
    }
    line: dict[str, Any] = {
        "posterior": cell.posterior,
        "num_chains": cell.num_chains,
        "system": cell.system,
        "passed": not cell.failure,
        "reason": cell.failure,
        "divergences": last.work["divergences"] if last else None,
    }
    for key in ("z_max", "z_max_of", "r_hat_max", "min_ess_bulk", "min_ess_of"):
        line[key] = check.get(key)
    for name, quantity in quantities.items():
        line |= tables.columns(**{name: cell.spread(quantity)})
    return line
