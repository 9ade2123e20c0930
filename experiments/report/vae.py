"""The page of the VQ-VAE's and the audio VAE's training steps."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from experiments.records.record import Record
from experiments.report import selection
from experiments.report.notes import note
from experiments.report.ratios import Outcome
from experiments.report.tables import (
    bullets,
    cell,
    csv_text,
    disturbance_lines,
    markdown_page,
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
    mfu_target,
    model_line,
    settings_lines,
    step_target,
    trained_row,
    training_table,
)

CORES = "ours_cores"
SYSTEMS = {
    OURS: "ours, one device",
    CORES: "ours, a logical device for each core",
    BY_HAND: "hand-written TensorFlow",
    "flax": "JAX and Flax",
}
PROBLEMS = {
    "crops64": "the VQ-VAE of configs/vq_vae/natural_crops64.gin, training its prior",
    "crops64_before_prior": "the same before the prior trains",
    "imagenet64": "the VQ-VAE of configs/vq_vae/imagenet64.gin, training its prior",
    "audio": "the audio VAE of configs/audio_vae/tones.gin",
}
EXAMPLES = {"images": "images", "audio": "clips"}  # by the record's mode
STEP_OVER_BY_HAND = 1.02  # at most, of the VQ-VAE
MFU = 0.45  # at least, of the VQ-VAE
CORES_OVER_ONE = 1.3  # at most, of audio
VAE_DEFINITIONS = (
    "All systems use the same random draws: ours makes them in its step, the others "
    "get them. While the prior trains, a ratio includes its hand-written gradients; "
    "before, it is what the language and the training loop cost.",
    "The VQ-VAE's bits/dim here are the training loss, commitment and means of drawn "
    "codes included. They compare systems and bound nothing.",
    "Bytes passed: of the tensors that one logical device makes and another reads, "
    "each counted once, in the traced step.",
)


class Page(NamedTuple):
    """The newest benchmark's records, as rows."""

    trained: tuple[Trained, ...]
    peaks: dict[int, float]  # flops a second, by round
    records: tuple[Record, ...]


def read_page(records: Sequence[Record]) -> Page:
    """The rows of the newest benchmark's records, in the order of its runs.

    Raises ValueError where there are none.
    """
    runs = [r for r in records if r.settings["mode"] in EXAMPLES]
    if not runs:
        raise ValueError(f"records: given {len(records)}, wanted training runs")
    newest = selection.newest(runs)
    bench = newest[0].provenance["bench_id"]
    peaks = selection.matmul_peaks(
        r
        for r in records
        if r.settings["mode"] == "probe" and r.provenance["bench_id"] == bench
    )
    peak = max(peaks.values(), default=None)
    groups = selection.by_system(newest)
    rows = tuple(trained_row(group, peak) for group in groups.values())
    return Page(rows, peaks, tuple(r for group in groups.values() for r in group))


def _examples(row: Trained) -> str:
    return EXAMPLES[row.records[0].settings["mode"]]


def outcomes(page: Page) -> list[Outcome]:
    """How each target came out."""
    results = []
    steps = {(row.problem, row.system): row for row in page.trained}
    for ours in page.trained:
        if ours.system != OURS:
            continue
        by_hand, cores = (steps.get((ours.problem, s)) for s in (BY_HAND, CORES))
        if _examples(ours) == "images":
            if by_hand:
                claim = f"step, {ours.problem}: ours / {SYSTEMS[BY_HAND]}"
                results.append(step_target(claim, ours, by_hand, STEP_OVER_BY_HAND))
            results.append(mfu_target(ours, MFU))
        elif cores:
            devices = _work(cores, "devices").get("devices", "several")
            claim = f"step, {ours.problem}: {devices} logical devices / one"
            results.append(step_target(claim, cores, ours, CORES_OVER_ONE))
    return results


def _work(row: Trained, name: str) -> dict[str, Any]:
    """The work of the first record that has `name` in it."""
    return next((r.work for r in row.records if name in r.work), {})


# As Markdown.


def markdown(page: Page) -> str:
    """The whole page."""
    targets = outcomes(page)
    parts = ["# VQ-VAE and audio VAE: training steps", target_finding(targets)]
    for problem in dict.fromkeys(row.problem for row in page.trained):
        rows = [row for row in page.trained if row.problem == problem]
        parts += [
            f"## {problem}: {PROBLEMS.get(problem, problem)}",
            model_line(rows, _examples(rows[0])),
            training_table(rows, SYSTEMS),
            *(_passed_line(row) for row in rows if row.system == CORES),
        ]
    sources = {
        EXAMPLES[r.settings["mode"]].capitalize(): r.problem["source"]
        for r in page.records
        if r.problem.get("source")
    }
    return markdown_page(
        *parts,
        "## Targets",
        target_table(targets),
        "## How it was measured",
        bullets(settings_lines(page.records, sources, page.peaks)),
        bullets(DEFINITIONS + VAE_DEFINITIONS),
        "## Notes",
        bullets(_notes(page)),
    )


def _passed_line(row: Trained) -> str:
    work = _work(row, "passed_bytes")
    if not work:
        return ""
    return (
        f"Between its {work['devices']} devices {work['passed_bytes']:,} bytes pass in "
        "a step, forward, backward and update. A device has at most "
        f"{work['most_held_bytes'] / 1e6:,.2f} MB of the "
        f"{work['all_held_bytes'] / 1e6:,.2f} MB of weights and optimizer state."
    )


def _notes(page: Page) -> Iterable[str]:
    notes = {
        SYSTEMS.get(row.system, row.system): text
        for row in page.trained
        for r in row.records
        if (text := note(r, row.system))
    }
    for label, text in notes.items():
        yield f"{label}: {cell(text, 1000)}."
    yield from disturbance_lines(page.peaks)
    yield from origin_lines(page.records)


# As CSV.


def csv(page: Page) -> str:
    """One line for each system and problem."""
    ours = {row.problem: row for row in page.trained if row.system == OURS}
    names = ("devices", "passed_bytes", "most_held_bytes", "all_held_bytes")
    return csv_text(
        [
            csv_row(row, ours.get(row.problem))
            | {name: _work(row, name).get(name) for name in names}
            for row in page.trained
        ]
    )
