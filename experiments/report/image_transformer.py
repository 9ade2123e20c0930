"""The Image Transformer's page: its training step, and its sampler."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from experiments.records.record import Record
from experiments.report import selection
from experiments.report.notes import note
from experiments.report.ratios import (
    Outcome,
    at_least,
    at_most,
    ratio,
    spread,
    spread_or_none,
)
from experiments.report.tables import (
    NONE,
    bullets,
    cell,
    columns,
    csv_text,
    disturbance_lines,
    markdown_page,
    markdown_table,
    number,
    origin_lines,
    target_finding,
    target_table,
)
from experiments.report.training_steps import (
    BY_HAND,
    DEFINITIONS,
    OURS,
    Trained,
    csv_row,
    csv_status,
    mfu_target,
    milliseconds,
    model_line,
    settings_lines,
    step_target,
    trained_row,
    training_table,
)

WITH_KERNELS = "handwritten_tf_kernels"
PEERS = ("keras", "keras_xla", "flax")
FAMILIES = {"Keras 3": ("keras", "keras_xla"), "JAX and Flax": ("flax",)}
SYSTEMS = {
    OURS: "ours",
    BY_HAND: "hand-written TensorFlow",
    WITH_KERNELS: "hand-written TensorFlow, our attention and normalisation",
    "keras": "Keras 3",
    "keras_xla": "Keras 3, jit_compile",
    "flax": "JAX and Flax",
}
PROBLEMS = {
    "crops32": "32x32, mixtures of logistics, the paper's layers",
    "categorical32": "32x32, categorical, two layers of the CIFAR-10 set",
    "crops64": "64x64, mixtures of logistics, the paper's layers",
    "paper256": "256x256, mixtures of logistics, the paper's layers",
}
CACHED, NAIVE = "cached", "naive"
SAMPLERS = {CACHED: "ours, cached", NAIVE: "naive"}
STEP_OVER_BY_HAND, STEP_OVER_PEERS = 1.02, 1.0  # at most
MFU = 0.5  # at least
NAIVE_OVER_CACHED = 100.0  # at least, on this image:
SMALL, LARGE = "crops64", "paper256"
LARGE_OVER_SMALL = 1.1  # at most, of a position's time
SAMPLING = (
    "A position is one place of all images of the batch, with its three channels. Of a "
    "large image only the first positions are drawn; a position's cost does not depend "
    "on its place.",
    "The naive sampler computes the outputs of every position for each position that "
    "it draws. It is timed at a few positions and extrapolated to the image. XLA "
    "compiles the cached loop; TensorFlow alone compiles the naive position.",
)


class Sampled(NamedTuple):
    """One sampler on images of one size over the rounds."""

    problem: str
    sampler: str  # CACHED or NAIVE
    batch: int
    records: tuple[Record, ...]
    failure: str
    seconds: dict[int, float]  # of a position, by round


class Page(NamedTuple):
    """The newest benchmark's records, as rows."""

    trained: tuple[Trained, ...]
    sampled: tuple[Sampled, ...]
    peaks: dict[int, float]  # flops a second of the training's rounds
    sampling_peaks: dict[int, float]  # and of the sampling's, often the same
    records: tuple[Record, ...]


def read_page(records: Sequence[Record]) -> Page:
    """The rows of the newest benchmark's records, in the order of its runs.

    Training and sampling are each of the newest benchmark that has any; no ratio is
    taken between them.  Raises ValueError where there are none.
    """
    runs = [r for r in records if r.settings["mode"] != "probe"]
    if not runs:
        raise ValueError(
            f"records: given {len(records)}, wanted training or sampling runs"
        )
    newest = selection.newest(runs, lambda r: r.settings["mode"] == "train")
    newest.sort(key=lambda r: r.settings["mode"] != "train")  # training first
    peaks = {
        bench: selection.matmul_peaks(
            r for r in records if r.settings["mode"] == "probe" and _bench(r) == bench
        )
        for bench in {_bench(r) for r in newest}
    }
    trained, sampled = [], []
    for group in selection.by_system(newest).values():
        if group[0].settings["mode"] == "train":
            peak = max(peaks[_bench(group[0])].values(), default=None)
            trained.append(trained_row(group, peak))
        else:
            sampled.append(_sampled(group))

    def peaks_of(rows: Sequence[Trained | Sampled]) -> dict[int, float]:
        return peaks[_bench(rows[0].records[0])] if rows else {}

    return Page(
        trained=tuple(trained),
        sampled=tuple(sampled),
        peaks=peaks_of(trained),
        sampling_peaks=peaks_of(sampled),
        records=tuple(newest),
    )


def _bench(record: Record) -> str:
    return str(record.provenance["bench_id"])


def _sampled(records: Sequence[Record]) -> Sampled:
    problem, _, rest = records[0].system.partition("/")
    sampler, _, batch = rest.partition("_")
    failure = selection.failure(records)
    seconds = {}
    if not failure:
        seconds = {
            r.round: sum(r.seconds["calls"]) / sum(r.work["positions"]) for r in records
        }
    return Sampled(problem, sampler, int(batch), tuple(records), failure, seconds)


def outcomes(page: Page) -> list[Outcome]:
    """How each target came out."""
    results = []
    steps = {(row.problem, row.system): row for row in page.trained}
    for problem in dict.fromkeys(row.problem for row in page.trained):
        ours = steps[problem, OURS]
        for by_hand in (BY_HAND, WITH_KERNELS):
            if (problem, by_hand) in steps:
                claim = f"step, {problem}: ours / {SYSTEMS[by_hand]}"
                other = steps[problem, by_hand]
                results.append(step_target(claim, ours, other, STEP_OVER_BY_HAND))
        peers = [steps[problem, p] for p in PEERS if (problem, p) in steps]
        results.append(_against_peers(problem, ours, peers))
        results.append(mfu_target(ours, MFU))
    samplers = {(row.problem, row.sampler, row.batch): row for row in page.sampled}
    for batch in sorted({row.batch for row in page.sampled}):
        small = samplers.get((SMALL, CACHED, batch))
        naive = samplers.get((SMALL, NAIVE, batch))
        large = samplers.get((LARGE, CACHED, batch))
        if small and naive:
            results.append(
                at_least(
                    f"sampling {batch} of {SMALL}: naive, extrapolated / ours",
                    NAIVE_OVER_CACHED,
                    ratio(naive.seconds, small.seconds),
                    naive.failure or small.failure,
                )
            )
        if small and large:
            results.append(
                at_most(
                    f"a position of {batch} images: {LARGE} / {SMALL}",
                    LARGE_OVER_SMALL,
                    ratio(large.seconds, small.seconds),
                    large.failure or small.failure,
                )
            )
    return results


def _against_peers(problem: str, ours: Trained, peers: Sequence[Trained]) -> Outcome:
    """Against the fastest of Keras 3 and Flax; a result only if all of them ran."""
    ran = [row for row in peers if row.seconds]
    present = {row.system for row in peers}
    missing = [SYSTEMS[row.system] for row in peers if not row.seconds]
    missing += [name for name, of in FAMILIES.items() if not present & set(of)]
    without = f"without {', '.join(missing)}" if missing else ""
    if not ran:
        claim = f"step, {problem}: ours / the fastest of Keras 3 and Flax"
        return at_most(claim, STEP_OVER_PEERS, None, without)
    best = min(ran, key=lambda row: statistics.median(row.seconds.values()))
    which = f"the fastest; {without}" if missing else "the fastest of Keras 3 and Flax"
    claim = f"step, {problem}: ours / {SYSTEMS[best.system]} ({which})"
    outcome = step_target(claim, ours, best, STEP_OVER_PEERS)
    if not missing:
        return outcome
    return outcome._replace(reached=False, reason=outcome.reason or without)


# As Markdown.


def markdown(page: Page) -> str:
    """The whole page."""
    targets = outcomes(page)
    parts = [
        "# The Image Transformer: training step and sampler",
        target_finding(targets),
    ]
    for problem in dict.fromkeys(row.problem for row in page.trained):
        rows = [row for row in page.trained if row.problem == problem]
        parts += [
            f"## Training, {problem}: {PROBLEMS.get(problem, problem)}",
            model_line(rows, "images"),
            training_table(rows, SYSTEMS),
        ]
    if page.sampled:
        parts += ["## Sampling", _sampling_table(page)]
    source = next(
        (r.problem["source"] for r in page.records if r.problem.get("source")), None
    )
    definitions = DEFINITIONS + (SAMPLING if page.sampled else ())
    return markdown_page(
        *parts,
        "## Targets",
        target_table(targets),
        "## How it was measured",
        bullets(
            settings_lines(
                page.records, {"Images": source} if source else {}, page.peaks
            )
        ),
        bullets(definitions),
        "## Notes",
        bullets(_notes(page)),
    )


def _sampling_table(page: Page) -> str:
    head = (
        "image",
        "sampler",
        "images at once",
        "ms a position (range)",
        "whole image, s (extrapolated)",
    )
    lines = []
    for row in page.sampled:
        first = (row.problem, SAMPLERS.get(row.sampler, row.sampler), str(row.batch))
        if row.failure:
            lines.append((*first, cell(row.failure), NONE))
            continue
        positions = row.records[0].work["positions_of_image"]
        image = positions * statistics.median(row.seconds.values())
        lines.append((*first, milliseconds(row.seconds), number(image)))
    return markdown_table(head, lines)


def _notes(page: Page) -> Iterable[str]:
    notes = {
        SYSTEMS.get(row.system, row.system): text
        for row in page.trained
        for r in row.records
        if (text := note(r, row.system))
    }
    for label, text in notes.items():
        yield f"{label}: {cell(text, 1000)}."
    peaks = {" of training": page.peaks, " of sampling": page.sampling_peaks}
    if page.trained and page.sampled and page.peaks == page.sampling_peaks:
        peaks = {"": page.peaks}
    for of, of_rounds in peaks.items():
        yield from disturbance_lines(of_rounds, of)
    yield from origin_lines(page.records)
    if len({_bench(r) for r in page.records}) > 1:
        yield "Sampling is from another benchmark than training:"
        yield from origin_lines([r for row in page.sampled for r in row.records])


# As CSV.


def csv(page: Page) -> str:
    """One line for each system, or sampler, and problem."""
    ours = {row.problem: row for row in page.trained if row.system == OURS}
    lines = [csv_row(row, ours.get(row.problem)) for row in page.trained]
    return csv_text([*lines, *map(_csv_sampled, page.sampled)])


def _csv_sampled(row: Sampled) -> dict[str, Any]:
    record = row.records[0]
    first = (r.seconds.get("first") for r in row.records if not row.failure)
    timed = (sum(r.work.get("positions", [])) for r in row.records)
    return {
        "what": "sampling, seconds of a position",
        "problem": row.problem,
        "system": row.sampler,
        **csv_status(record, row.failure),
        "batch": row.batch,
        "rounds": len(row.seconds),
        **columns("seconds", spread_or_none(row.seconds.values())),
        **columns("first_seconds", spread_or_none(first)),
        **columns("positions_timed", spread(timed)),
        "positions_of_image": record.work.get("positions_of_image"),
    }
