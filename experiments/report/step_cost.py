"""What runtime and loop add to a step written by hand: the table, of records alone."""

import statistics
from collections.abc import Sequence

from experiments.records.record import Record
from experiments.report.speedup import Spread, newest_bench, spread
from experiments.report.tables import NONE, table_of_numbers

CASES = {
    "ours": "runtime and loop",
    "by_hand": "by hand, Adam as in the paper",
    "by_hand_fused": "by hand, TensorFlow's fused Adam",
}
AT_MOST, MFU_AT_LEAST = 1.03, 0.5


def markdown(records: Sequence[Record]) -> str:
    """The table: medians and ranges over the rounds, ratios taken within each.

    Raises ValueError for no records and for a case that is not known or not there.
    """
    newest = newest_bench(records)
    by_case: dict[str, dict[int, Record]] = {name: {} for name in CASES}
    for record in newest:
        if record.system not in by_case:
            raise ValueError(
                f"system: given {record.system!r}, wanted one of {list(CASES)}"
            )
        by_case[record.system][record.round] = record
    missing = [name for name, held in by_case.items() if not held]
    if missing:
        raise ValueError(f"records: none of {missing}, wanted some of {list(CASES)}")
    any_record = newest[0]
    hardware, problem = any_record.hardware, any_record.problem
    peak = any_record.work["matmul_flops_per_second"]
    rounds = len(by_case["ours"])
    parts = [
        "# Cost of a training step through runtime and loop",
        f"{hardware['cpu']}, {hardware['cores']} cores, one device; "
        f"{str(any_record.provenance['started_at'])[:10]}; {problem['name']} "
        f"({problem['source']}), {problem['parameters']:,} parameters, "
        f"{any_record.settings['batch']} examples a step; {rounds} rounds of "
        f"{any_record.settings['steps']} steps in turn. Measured matmul peak: "
        f"{peak / 1e9:.0f} GFLOP/s; MFU is over it.",
    ]
    head = (
        "case",
        "s a step, median (range)",
        "ours over it (range)",
        "MFU",
        "loss at the end",
    )
    lines, told = [], {}
    for name, held in by_case.items():
        failed = [r for r in held.values() if not r.check["passed"]]
        if failed:
            said = "wrong: loss not that of ours"
            lines.append((CASES[name], said, NONE, NONE, NONE))
            continue
        seconds = {number: r.seconds["step"] for number, r in held.items()}
        ratios = [
            by_case["ours"][number].seconds["step"] / value
            for number, value in seconds.items()
            if number in by_case["ours"]
        ]
        mfu = any_record.work["flops"] / statistics.median(seconds.values()) / peak
        told[name] = (spread(ratios).median, mfu)
        ratio = NONE if name == "ours" else _range(spread(ratios))
        lines.append(
            (
                CASES[name],
                _range(spread(seconds.values())),
                ratio,
                f"{mfu:.0%}",
                f"{next(iter(held.values())).check['loss']:.5f}",
            )
        )
    parts += [table_of_numbers(head, lines), "\n".join(_verdicts(told))]
    return "\n\n".join(parts) + "\n"


def _verdicts(told: dict[str, tuple[float, float]]) -> list[str]:
    """What was wanted, and whether the medians reached it."""
    found = []
    for name in ("by_hand", "by_hand_fused"):
        if name in told:
            ratio = told[name][0]
            said = "reached" if ratio <= AT_MOST else "not reached"
            found.append(
                f"- At most {AT_MOST} times {CASES[name]}: {said}, {ratio:.3f}"
            )
    mfu = told["ours"][1]
    said = "reached" if mfu >= MFU_AT_LEAST else "not reached"
    return [*found, f"- MFU of {MFU_AT_LEAST:.0%}: {said}, {mfu:.0%}"]


def _range(values: Spread) -> str:
    return f"{values.median:.3f} ({values.low:.3f}-{values.high:.3f})"
