"""The page of what engine and training loop add to a hand-written step."""

from collections.abc import Sequence

from experiments.records.record import Record
from experiments.report import selection, tables
from experiments.report.ratios import at_least, at_most, ratio, spread

OURS = "ours"
SYSTEMS = {
    OURS: "engine and training loop",
    "by_hand": "hand-written TensorFlow, Adam as in its paper",
    "by_hand_fused": "hand-written TensorFlow, its fused Adam",
}
RATIO, MFU = 1.03, 0.5  # at most, at least


def markdown(records: Sequence[Record]) -> str:
    """The whole page; ratios are taken within a round.

    Raises ValueError for no records, and for a system that is unknown or missing.
    """
    newest = selection.newest(records)
    rows = selection.by_system(newest)
    if rows.keys() != SYSTEMS.keys():
        raise ValueError(f"system: given {list(rows)}, wanted all of {list(SYSTEMS)}")
    first = newest[0]
    peak, flops = first.work["matmul_flops_per_second"], first.work["flops"]
    failures = {name: selection.failure(rows[name]) for name in SYSTEMS}
    seconds = {
        name: {r.round: r.seconds["step"] for r in rows[name] if not failure}
        for name, failure in failures.items()
    }
    others = ("by_hand", "by_hand_fused")
    ratios = {name: ratio(seconds[OURS], seconds[name]) for name in others}
    mfu = {
        name: spread(flops / s / peak for s in by_round.values())
        for name, by_round in seconds.items()
    }
    source = first.problem["source"].replace("stand-in", "data")  # of older records
    targets = []
    for name, measured in ratios.items():
        reason = failures[OURS] or failures[name]
        claim = f"step: ours / {SYSTEMS[name]}"
        targets.append(at_most(claim, RATIO, measured, reason))
    targets.append(at_least("MFU, ours", MFU, mfu[OURS], failures[OURS], f"{MFU:.0%}"))
    return tables.markdown_page(
        "# What engine and training loop cost",
        tables.target_finding(targets),
        tables.markdown_table(
            {
                "system": label,
                "s per step (range)": tables.cell(failures[name])
                or tables.with_range(spread(seconds[name].values())),
                "ours / this system (range)": tables.times(ratios.get(name)),
                "MFU": f"{share.median:.0%}" if (share := mfu[name]) else None,
                "last loss": None
                if failures[name]
                else f"{rows[name][0].check['loss']:.5f}",
            }
            for name, label in SYSTEMS.items()
        ),
        tables.target_table(targets),
        f"{first.hardware['cpu']}, {first.hardware['cores']} cores, one device; "
        f"{str(first.provenance['started_at'])[:10]}; {first.problem['name']} "
        f"({source}), {first.problem['parameters']:,} parameters, "
        f"{first.settings['batch']} examples per step; {len(rows[OURS])} rounds of "
        f"{first.settings['steps']} steps of each system. MFU: over the measured peak "
        f"of matrix products, {peak / 1e9:.0f} GFLOP/s.",
    )
