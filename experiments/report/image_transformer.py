"""The Image Transformer's page: its training step, and its sampler."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.records.record import Record
from experiments.report import selection, training_steps
from experiments.report.ratios import Outcome, at_least, at_most, ratio, spread
from experiments.report.tables import (
    NONE,
    cell,
    columns,
    csv_text,
    disturbance_lines,
    markdown_table,
    number,
    origin_lines,
)
from experiments.report.training_steps import (
    BY_HAND,
    OURS,
    Page,
    Sampled,
    Trained,
    by_problem,
    csv_status,
    mfu_target,
    milliseconds,
    step_target,
)

WITH_KERNELS = "handwritten_tf_kernels"
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
    training = [r for r in newest if r.settings["mode"] == "train"]
    sampling = [r for r in newest if r.settings["mode"] != "train"]
    peaks = selection.matmul_peaks(records, training)
    return Page(
        trained=training_steps.trained_rows(training, peaks),
        peaks=peaks,
        records=(*training, *sampling),
        sampled=tuple(map(_sampled, selection.by_system(sampling).values())),
        sampling_peaks=selection.matmul_peaks(records, sampling),
    )


def _sampled(records: Sequence[Record]) -> Sampled:
    problem, _, rest = records[0].system.partition("/")
    sampler, _, batch = rest.partition("_")
    failure = selection.failure(records)
    seconds = {
        r.round: sum(r.seconds["calls"]) / sum(r.work["positions"])
        for r in ([] if failure else records)
    }
    return Sampled(problem, sampler, int(batch), tuple(records), failure, seconds)


def outcomes(page: Page) -> list[Outcome]:
    """How each target came out."""
    results = []
    for problem, rows in by_problem(page.trained).items():
        for by_hand in (BY_HAND, WITH_KERNELS):
            if by_hand in rows:
                claim = f"step, {problem}: ours / {SYSTEMS[by_hand]}"
                over = step_target(claim, rows[OURS], rows[by_hand], STEP_OVER_BY_HAND)
                results.append(over)
        results.append(_against_peers(problem, rows))
        results.append(mfu_target(rows[OURS], MFU))
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


def _against_peers(problem: str, rows: Mapping[str, Trained]) -> Outcome:
    """Against the fastest of Keras 3 and Flax; a result only if all of them ran."""
    peers = {
        name: rows[name] for of in FAMILIES.values() for name in of if name in rows
    }
    ran = [row for row in peers.values() if row.seconds]
    missing = [SYSTEMS[name] for name, row in peers.items() if not row.seconds]
    missing += [name for name, of in FAMILIES.items() if not peers.keys() & set(of)]
    without = f"without {', '.join(missing)}" if missing else ""
    if not ran:
        claim = f"step, {problem}: ours / the fastest of Keras 3 and Flax"
        return at_most(claim, STEP_OVER_PEERS, None, without)
    best = min(ran, key=lambda row: statistics.median(row.seconds.values()))
    which = f"the fastest; {without}" if missing else "the fastest of Keras 3 and Flax"
    claim = f"step, {problem}: ours / {SYSTEMS[best.system]} ({which})"
    outcome = step_target(claim, rows[OURS], best, STEP_OVER_PEERS)
    if not missing:
        return outcome
    return outcome._replace(reached=False, reason=outcome.reason or without)


def markdown(page: Page) -> str:
    """The whole page."""
    sampling = (
        ("## Sampling", markdown_table(map(_sampling_line, page.sampled)))
        if page.sampled
        else ()
    )
    return training_steps.markdown(
        "The Image Transformer: training step and sampler",
        page,
        outcomes(page),
        systems=SYSTEMS,
        problems=PROBLEMS,
        heading="Training, ",
        more=sampling,
        definitions=SAMPLING if page.sampled else (),
        notes=_notes(page),
    )


def _sampling_line(row: Sampled) -> dict[str, str]:
    image = NONE
    if not row.failure:
        positions = row.records[0].work["positions_of_image"]
        image = number(positions * statistics.median(row.seconds.values()))
    return {
        "image": row.problem,
        "sampler": SAMPLERS.get(row.sampler, row.sampler),
        "images at once": str(row.batch),
        "ms a position (range)": cell(row.failure) or milliseconds(row.seconds),
        "whole image, s (extrapolated)": image,
    }


def _notes(page: Page) -> Iterable[str]:
    if page.trained and page.sampled and page.peaks == page.sampling_peaks:
        yield from disturbance_lines(page.peaks)
    else:
        yield from disturbance_lines(page.peaks, " of training")
        yield from disturbance_lines(page.sampling_peaks, " of sampling")
    yield from origin_lines(page.records)
    if len({r.provenance["bench_id"] for r in page.records}) > 1:
        yield "Sampling is from another benchmark than training:"
        yield from origin_lines([r for row in page.sampled for r in row.records])


def csv(page: Page) -> str:
    """One line for each system, or sampler, and problem."""
    lines = (*training_steps.csv_rows(page), *map(_csv_sampled, page.sampled))
    return csv_text(lines)


def _csv_sampled(row: Sampled) -> dict[str, Any]:
    first = (r.seconds.get("first") for r in row.records if not row.failure)
    timed = (sum(r.work.get("positions", [])) for r in row.records)
    return {
        "what": "sampling, seconds of a position",
        "problem": row.problem,
        "system": row.sampler,
        **csv_status(row.records[0], row.failure),
        "batch": row.batch,
        "rounds": len(row.seconds),
        **columns("seconds", spread(row.seconds.values())),
        **columns("first_seconds", spread(first)),
        **columns("positions_timed", spread(timed)),
        "positions_of_image": row.records[0].work.get("positions_of_image"),
    }
