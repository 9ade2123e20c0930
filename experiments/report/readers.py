"""The page of how fast files are read, and of how long trainings wait for them."""

from collections.abc import Sequence

from experiments.records.record import Record
from experiments.report import selection, tables
from experiments.report.ratios import (
    Outcome,
    Spread,
    at_least,
    at_most,
    ratio,
    spread,
)

OURS = "ours"
SYSTEMS = {
    OURS: "ours",
    "tf_data": "tf.data, TensorFlow's decoders",
    "plain": "Pillow or soundfile in a loop",
}
RATIO, SHARE = 1.0, 0.02  # at least, at most
TRAINING = "training "  # the start of the name of a training's problem


def markdown(records: Sequence[Record]) -> str:
    """The whole page; ratios are taken within a round.

    Raises ValueError for no records.
    """
    newest = selection.newest(records)
    trained = [r for r in newest if r.problem["name"].startswith(TRAINING)]
    read = [r for r in newest if not r.problem["name"].startswith(TRAINING)]
    cases = dict.fromkeys((r.problem["name"], r.settings["processes"]) for r in read)
    lines, targets = [], []
    for kind, processes in cases:
        here = [
            r
            for r in read
            if (r.problem["name"], r.settings["processes"]) == (kind, processes)
        ]
        rows = selection.by_system(here)
        label = f"{kind}, {processes} process{'es' if processes > 1 else ''}"
        for name, text in SYSTEMS.items():
            failure = selection.failure(rows.get(name, []))
            line: dict[str, str | None] = {"files": label, "system": text}
            for state in ("cold", "warm"):
                line[f"{state}, files a second (range)"] = tables.cell(
                    failure
                ) or tables.with_range(spread(_rates(rows[name], state).values()))
            lines.append(line)
        failure = selection.failure(rows.get(OURS, []))
        for state in ("cold", "warm"):
            claim = f"{label}, {state}: ours / the faster other"
            targets.append(at_least(claim, RATIO, _ratio(rows, state), failure))
    names = dict.fromkeys(r.problem["name"] for r in trained)
    for name in names:
        here = [r for r in trained if r.problem["name"] == name]
        targets.append(_waiting(name, here))
    first = newest[0]
    return tables.markdown_page(
        "# Reading files",
        tables.target_finding(targets),
        tables.markdown_table(lines, left=2),
        tables.target_table(targets),
        f"{tables.machine(newest)}; folders of {first.problem['files']} files: crops "
        "of photographs of 256 x 256 pixels, of which the middle 224 x 224 are taken, "
        "and 4 s of sound at 16 kHz. Each system reads every file once a pass, in "
        "shuffled batches of "
        f"{first.settings['batch']}, and keeps none; one process has two threads, two "
        "have one each. Cold: after the files were dropped from the system's memory. "
        "Warm: the median of the passes after. A share of waiting is the part of a "
        "training step in which it waits for its batch, over log lines of five steps. "
        "FLAC has no decoder in TensorFlow.",
        *tables.origin_lines(newest),
    )


def _rates(records: Sequence[Record], state: str) -> dict[int, float]:
    """Files a second by round."""
    return {
        r.round: r.work["examples"] / r.seconds[state]
        for r in records
        if r.status == "ok" and r.check["passed"]
    }


def _ratio(rows: dict[str, list[Record]], state: str) -> Spread | None:
    """Ours over the faster of the others, round by round."""
    rates = {name: _rates(records, state) for name, records in rows.items()}
    ours = rates.pop(OURS, {})
    rounds = {number for others in rates.values() for number in others}
    fastest = {
        number: max(others[number] for others in rates.values() if number in others)
        for number in rounds
    }
    return ratio(ours, fastest)


def _waiting(name: str, records: Sequence[Record]) -> Outcome:
    failure = selection.failure(records)
    shares = spread(
        r.seconds["data"] / r.seconds["step"] for r in records if r.status == "ok"
    )
    claim = f"{name}: share of a step spent waiting"
    outcome = at_most(claim, SHARE, shares, failure)
    return outcome._replace(target=f"at most {100 * SHARE:g} %")
