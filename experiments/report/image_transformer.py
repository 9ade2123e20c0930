"""The Image Transformer's page: its training step, and its sampler."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.records.record import Record
from experiments.report import selection, tables, training_steps
from experiments.report.ratios import Outcome, at_least, at_most, ratio, spread
from experiments.report.training_steps import (
    BY_HAND,
    OURS,
    Page,
    Row,
    by_problem,
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
    "A position is one pixel of every image in the batch, with its three channels. Of "
    "a large image only the first positions are drawn: a position's cost does not "
    "depend on its place.",
    "The naive sampler computes the outputs of all positions for each position that it "
    "draws. It is timed at a few positions, and the time of an image is extrapolated. "
    "XLA compiles the cached loop; TensorFlow alone compiles the naive position.",
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
        trained=training_steps.make_rows(training, peaks),
        peaks=peaks,
        records=(*training, *sampling),
        sampled=training_steps.make_rows(sampling),
        sampling_peaks=selection.matmul_peaks(records, sampling),
    )


def outcomes(page: Page) -> list[Outcome]:
    """How each target came out."""
    results = []
    for problem, rows in by_problem(page).items():
        for by_hand in (BY_HAND, WITH_KERNELS):
            if by_hand in rows:
                claim = f"step, {problem}: ours / {SYSTEMS[by_hand]}"
                over = step_target(claim, rows[OURS], rows[by_hand], STEP_OVER_BY_HAND)
                results.append(over)
        results.append(_against_peers(problem, rows))
        results.append(training_steps.mfu_target(rows[OURS], MFU))
    samplers = {(row.problem, *_sampler(row)): row for row in page.sampled}
    for batch in sorted({batch for *_, batch in samplers}):
        small = samplers.get((SMALL, CACHED, batch))
        naive = samplers.get((SMALL, NAIVE, batch))
        large = samplers.get((LARGE, CACHED, batch))
        if small and naive:
            claim = f"sampling {batch} of {SMALL}: naive, extrapolated / ours"
            measured = ratio(naive.seconds, small.seconds)
            reason = naive.failure or small.failure
            results.append(at_least(claim, NAIVE_OVER_CACHED, measured, reason))
        if small and large:
            claim = f"a position of {batch} images: {LARGE} / {SMALL}"
            results.append(step_target(claim, large, small, LARGE_OVER_SMALL))
    return results


def _sampler(row: Row) -> tuple[str, int]:
    """CACHED or NAIVE, and the images at once."""
    sampler, _, batch = row.system.partition("_")
    return sampler, int(batch)


def _against_peers(problem: str, rows: Mapping[str, Row]) -> Outcome:
    """Against the fastest of Keras 3 and Flax; a result only if all of them ran."""
    names = (name for of in FAMILIES.values() for name in of if name in rows)
    peers = {name: rows[name] for name in names}
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
    sampling = tables.markdown_table(map(_sampling_line, page.sampled))
    return training_steps.markdown(
        "The Image Transformer: training step and sampler",
        page,
        outcomes(page),
        systems=SYSTEMS,
        problems=PROBLEMS,
        heading="Training, ",
        more=("## Sampling", sampling) if page.sampled else (),
        definitions=SAMPLING if page.sampled else (),
    )


def _sampling_line(row: Row) -> dict[str, str | None]:
    sampler, batch = _sampler(row)
    image = None
    if not row.failure:
        positions = row.records[0].work["positions_of_image"]
        image = tables.number(positions * statistics.median(row.seconds.values()))
    return {
        "image": row.problem,
        "sampler": SAMPLERS.get(sampler, sampler),
        "images at once": str(batch),
        "ms per position (range)": row.time,
        "whole image, s (extrapolated)": image,
    }


def csv(page: Page) -> str:
    """One line for each system, or sampler, and problem."""
    sampled = map(_csv_sampled, page.sampled)
    return tables.csv_text((*training_steps.csv_rows(page), *sampled))


def _csv_sampled(row: Row) -> dict[str, Any]:
    first = (r.seconds.get("first") for r in row.records if not row.failure)
    sampler, batch = _sampler(row)
    timed = spread(sum(r.work.get("positions", [])) for r in row.records)
    what = "sampling, seconds of a position"
    return training_steps.csv_head(row, what, sampler, batch) | {
        **tables.columns(first_seconds=spread(first), positions_timed=timed),
        "positions_of_image": row.records[0].work.get("positions_of_image"),
    }
