"""The page of what engine and training loop add to a hand-written step."""

from collections.abc import Sequence

from experiments.records.record import Record
from experiments.report import selection
from experiments.report.ratios import at_least, at_most, ratio, spread
from experiments.report.tables import (
    NONE,
    markdown_page,
    markdown_table,
    target_finding,
    target_table,
    times,
    with_range,
)

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
    ratios = {name: ratio(seconds[OURS], seconds[name]) for name in SYSTEMS}
    mfu = {
        name: spread(flops / s / peak for s in by_round.values())
        for name, by_round in seconds.items()
    }
    targets = [
        at_most(
            f"step: ours / {SYSTEMS[name]}",
            RATIO,
            ratios[name],
            failures[OURS] or failures[name],
        )
        for name in ("by_hand", "by_hand_fused")
    ]
    targets.append(at_least("MFU, ours", MFU, mfu[OURS], failures[OURS], f"{MFU:.0%}"))
    return markdown_page(
        "# What engine and training loop cost",
        target_finding(targets),
        markdown_table(
            {
                "system": label,
                "s a step (range)": failures[name]
                or with_range(spread(seconds[name].values())),
                "ours / it (range)": NONE if name == OURS else times(ratios[name]),
                "MFU": f"{share.median:.0%}" if (share := mfu[name]) else NONE,
                "last loss": NONE
                if failures[name]
                else f"{rows[name][0].check['loss']:.5f}",
            }
            for name, label in SYSTEMS.items()
        ),
        target_table(targets),
        f"{first.hardware['cpu']}, {first.hardware['cores']} cores, one device; "
        f"{str(first.provenance['started_at'])[:10]}; {first.problem['name']} "
        f"({first.problem['source']}), {first.problem['parameters']:,} parameters, "
        f"{first.settings['batch']} examples a step; {len(rows[OURS])} rounds of "
        f"{first.settings['steps']} steps of each system. MFU is over the measured "
        f"peak of matrix products, {peak / 1e9:.0f} GFLOP/s.",
    )
