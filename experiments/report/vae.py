"""The page of the VQ-VAE's and the audio VAE's training steps."""

from collections.abc import Sequence

from experiments.records.record import Record
from experiments.report import selection, tables, training_steps
from experiments.report.ratios import Outcome
from experiments.report.training_steps import BY_HAND, OURS, Page, step_target

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
STEP_OVER_BY_HAND = 1.02  # at most, of the VQ-VAE
MFU = 0.45  # at least, of the VQ-VAE
CORES_OVER_ONE = 1.3  # at most, of audio
DEFINITIONS = (
    "All systems use the same random draws. Ours makes them within its step; the "
    "others are given them. While the prior trains, a ratio includes the prior's "
    "hand-written gradients; before that, it is the cost of the language and the "
    "training loop.",
    "The VQ-VAE's bits/dim here are its training loss, with the commitment loss and "
    "the means of drawn codes. They compare systems and are no bound.",
    "Bytes passed: the sizes of the tensors that one logical device makes and another "
    "reads in the traced step, each counted once.",
)


def read_page(records: Sequence[Record]) -> Page:
    """The rows of the newest benchmark's records, in the order of its runs.

    Raises ValueError where there are none.
    """
    runs = [r for r in records if r.settings["mode"] in ("images", "audio")]
    if not runs:
        raise ValueError(f"records: given {len(records)}, wanted training runs")
    newest = selection.newest(runs)
    peaks = selection.matmul_peaks(records, newest)
    return Page(training_steps.make_rows(newest, peaks), peaks, tuple(newest))


def outcomes(page: Page) -> list[Outcome]:
    """How each target came out."""
    results = []
    for problem, rows in training_steps.by_problem(page).items():
        ours = rows[OURS]
        if training_steps.examples(ours.records[0]) == "images":
            if BY_HAND in rows:
                claim = f"step, {problem}: ours / {SYSTEMS[BY_HAND]}"
                by_hand = rows[BY_HAND]
                results.append(step_target(claim, ours, by_hand, STEP_OVER_BY_HAND))
            results.append(training_steps.mfu_target(ours, MFU))
        elif CORES in rows:
            devices = rows[CORES].work("devices") or "several"
            claim = f"step, {problem}: {devices} logical devices / one"
            results.append(step_target(claim, rows[CORES], ours, CORES_OVER_ONE))
    return results


def markdown(page: Page) -> str:
    """The whole page."""
    return training_steps.markdown(
        "VQ-VAE and audio VAE: training steps",
        page,
        outcomes(page),
        systems=SYSTEMS,
        problems=PROBLEMS,
        definitions=DEFINITIONS,
    )


def csv(page: Page) -> str:
    """One line for each system and problem."""
    names = ("devices", "passed_bytes", "most_held_bytes", "all_held_bytes")
    return tables.csv_text(
        line | {name: row.work(name) for name in names}
        for row, line in zip(page.trained, training_steps.csv_rows(page), strict=True)
    )
