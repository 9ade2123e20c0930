"""The page of what engine and training loop add to a hand-written step."""

import statistics
from collections.abc import Mapping, Sequence

from experiments.records.record import Record
from experiments.report import selection
from experiments.report.ratios import Outcome, at_least, at_most, ratio, spread
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
    groups = selection.by_system(newest)
    unknown = sorted(groups.keys() - SYSTEMS.keys())
    if unknown:
        raise ValueError(f"system: given {unknown}, wanted one of {list(SYSTEMS)}")
    missing = [name for name in SYSTEMS if name not in groups]
    if missing:
        raise ValueError(f"records: none of {missing}, wanted some of {list(SYSTEMS)}")
    rows = {name: groups[name] for name in SYSTEMS}
    failures = {name: selection.failure(group) for name, group in rows.items()}
    seconds = {
        name: {} if failures[name] else {r.round: r.seconds["step"] for r in group}
        for name, group in rows.items()
    }
    first = newest[0]
    peak, flops = first.work["matmul_flops_per_second"], first.work["flops"]
    mfu = {
        name: {number: flops / s / peak for number, s in by_round.items()}
        for name, by_round in seconds.items()
    }
    lines = []
    for name, label in SYSTEMS.items():
        if failures[name]:
            lines.append((label, failures[name], NONE, NONE, NONE))
            continue
        over = None if name == OURS else ratio(seconds[OURS], seconds[name])
        lines.append(
            (
                label,
                with_range(spread(seconds[name].values())),
                times(over),
                f"{statistics.median(mfu[name].values()):.0%}",
                f"{rows[name][0].check['loss']:.5f}",
            )
        )
    head = ("system", "s a step (range)", "ours / it (range)", "MFU", "last loss")
    targets = _outcomes(seconds, mfu, failures)
    return markdown_page(
        "# What engine and training loop cost",
        target_finding(targets),
        markdown_table(head, lines),
        target_table(targets),
        f"{first.hardware['cpu']}, {first.hardware['cores']} cores, one device; "
        f"{str(first.provenance['started_at'])[:10]}; {first.problem['name']} "
        f"({first.problem['source']}), {first.problem['parameters']:,} parameters, "
        f"{first.settings['batch']} examples a step; {len(rows[OURS])} rounds of "
        f"{first.settings['steps']} steps of each system. MFU is over the measured "
        f"peak of matrix products, {peak / 1e9:.0f} GFLOP/s.",
    )


def _outcomes(
    seconds: Mapping[str, dict[int, float]],
    mfu: Mapping[str, dict[int, float]],
    failures: Mapping[str, str],
) -> list[Outcome]:
    results = [
        at_most(
            f"step: ours / {SYSTEMS[name]}",
            RATIO,
            ratio(seconds[OURS], seconds[name]),
            failures[OURS] or failures[name],
        )
        for name in ("by_hand", "by_hand_fused")
    ]
    share = spread(mfu[OURS].values()) if mfu[OURS] else None
    return [*results, at_least("MFU, ours", MFU, share, failures[OURS], percent=True)]
