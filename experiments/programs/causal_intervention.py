"""Figure 8: intervening on a variable is not conditioning on it.

Two treatments of kidney stones, as Charig et al. (1986), "Comparison of treatment of
renal calculi", counted their patients.  Large stones were treated by surgery more
often, and heal less often by either treatment.  A config names `run`.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.programs import claims, pictures
from experiments.training.checks import check_count

PATIENTS = 700
# By size of the stone (small, large), then by treatment (puncture, surgery).
TREATED = np.array([[270, 87], [80, 263]])
CURED = np.array([[234, 81], [55, 192]])
TREATMENTS = ("puncture", "surgery")


def kidney_stones(num_patients: int) -> ppl.RandomVariable:
    """The size decides on the treatment, and both on whether the patient recovers."""
    by_surgery = tf.constant(TREATED[:, 1] / TREATED.sum(1), tf.float32)
    cured = tf.constant((CURED / TREATED).reshape(-1), tf.float32)
    size = TREATED[1].sum() / PATIENTS
    old = ppl.Bernoulli(probs=0.3, sample_shape=num_patients, name="old")
    large = ppl.Bernoulli(probs=size, sample_shape=num_patients, name="large")
    surgery = ppl.Bernoulli(probs=tf.gather(by_surgery, large), name="surgery")
    chance = tf.gather(cured, 2 * large + surgery)
    recovered = ppl.Bernoulli(probs=chance, name="recovered")
    nights = tf.cast(2 + 3 * surgery - recovered + old, tf.float32)
    ppl.Poisson(nights, name="nights")
    return recovered


def conditioned() -> np.ndarray:
    """P(recovered | treatment), [2], from the table: the sums over both sizes."""
    return CURED.sum(0) / TREATED.sum(0)


def intervened() -> np.ndarray:
    """P(recovered | do(treatment)), [2], from the table: sizes as among all."""
    return TREATED.sum(1) / PATIENTS @ (CURED / TREATED)


def run(
    *,
    run_dir: Path,
    seed: int,
    num_patients: int = 1_000_000,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Compares do(treatment) and conditioning, drawn and enumerated, with the table.

    num_patients: to draw, of each program.

    Writes claims and picture to `run_dir`.  Raises ValueError for a wrong argument;
    CheckFailed for a claim that does not hold.
    """
    check_count("num_patients", num_patients, minimum=1000)
    if dry_run:
        return {}
    plain = drawn(num_patients, seed)
    under_do = [drawn(num_patients, seed, surgery=value) for value in (0, 1)]
    given = [plain["recovered"][plain["surgery"] == value] for value in (0, 1)]
    forced = [values["recovered"] for values in under_do]
    made, shares = [], {}
    for what, samples, exact in (
        ("P(recovered | {})", given, conditioned()),
        ("P(recovered | do({}))", forced, intervened()),
    ):
        shares[what] = np.array([sample.mean() for sample in samples])
        for name, sample, expected in zip(TREATMENTS, samples, exact, strict=True):
            error = (expected * (1 - expected) / len(sample)) ** 0.5
            text = f"{what.format(name)} among draws"
            made.append(claims.near(text, sample.mean(), expected, error=error))
    by_log_joint = np.abs(enumerated() - [conditioned(), intervened()]).max()
    seen, caused = (float(np.diff(share)[0]) for share in shares.values())
    # A variable that do(surgery) changes and that is no descendant, or the opposite.
    expected_changes = descendants("surgery")
    changed = {
        name
        for values in under_do
        for name, value in values.items()
        if not np.array_equal(value, plain[name])
    }
    made += [
        claims.at_most(
            "these four by summing exp(log joint): largest error", by_log_joint, 1e-6
        ),
        claims.at_least("P(recovered): surgery less puncture, under do", caused, 0.0),
        claims.at_most("P(recovered): surgery less puncture, conditioned", seen, 0.0),
        claims.at_most(
            "variables that do(surgery) wrongly changes or leaves, draw by draw",
            len(changed ^ expected_changes),
            0,
        ),
    ]
    facts = {"descendants of surgery": sorted(expected_changes)}
    draw(run_dir / claims.PICTURE, shares)
    return claims.finish(run_dir, made, facts)


def drawn(num_patients: int, seed: int, **do: int) -> dict[str, np.ndarray]:
    """The variables of one run, under do(...) for every patient.

    The same seed gives the same draws of what do(...) does not affect.
    """
    values = {name: np.full(num_patients, value) for name, value in do.items()}
    program = ppl.mutilate(kidney_stones, **values)
    with ppl.tape() as variables, ppl.seeded((0, seed)):
        program(num_patients)
    return {name: variable.numpy() for name, variable in variables.items()}


def enumerated() -> np.ndarray:
    """P(recovered | treatment) and P(recovered | do(treatment)), [2, 2].

    Sums of the exponentials of log joints over all values; the nights, on which nothing
    depends, and the age sum to 1.
    """
    joint = np.zeros([2, 2, 2, 2])  # under do, treatment, large, recovered
    parts = {False: ppl.make_log_prob_parts_fn(kidney_stones)}
    for treatment, large, recovered in itertools.product((0, 1), repeat=3):
        values = {"old": [0], "large": [large], "recovered": [recovered]}
        values["nights"] = [0.0]
        parts[True] = ppl.make_log_prob_parts_fn(
            ppl.mutilate(kidney_stones, surgery=[treatment])
        )
        for under_do, log_prob_parts in parts.items():
            more = {} if under_do else {"surgery": [treatment]}
            terms = log_prob_parts(1, **values, **more)
            counted = terms.keys() - {"old", "nights"}
            log_prob = sum(float(terms[name]) for name in counted)
            joint[int(under_do), treatment, large, recovered] = np.exp(log_prob)
    by_treatment = joint.sum(2)
    return by_treatment[..., 1] / by_treatment.sum(-1)


def descendants(name: str) -> set[str]:
    """The variables of the program that depend on this one, also through others."""
    parents: Mapping[str, tuple[str, ...]] = {
        part.name: part.depends_on for part in ppl.describe(kidney_stones, 1)
    }
    found: set[str] = set()
    for other, above in parents.items():  # in order: parents come first
        if found.intersection(above) or name in above:
            found.add(other)
    return found


def draw(path: Path, shares: Mapping[str, np.ndarray]) -> None:
    """Writes a picture of the recovery under both treatments to `path`."""
    with pictures.figure(path, height=4.6) as figure:
        axes = figure.subplots()
        places = np.arange(2)
        titles = ("conditioned on the treatment", "under do(treatment)")
        exact = (conditioned(), intervened())
        for index, (title, share) in enumerate(
            zip(titles, shares.values(), strict=True)
        ):
            shifted = places + 0.36 * index - 0.18
            bars = axes.bar(shifted, share, 0.34, label=f"{title}, draws", alpha=0.8)
            axes.bar_label(bars, fmt="%.3f", padding=6)
            axes.plot(shifted, exact[index], "k_", markersize=40)
        axes.plot([], [], "k_", markersize=14, label="from the table")
        axes.set_xticks(places, TREATMENTS)
        axes.set_ylim(0.7, 0.87)
        axes.set_xlabel("treatment of kidney stones")
        axes.set_ylabel("probability of recovery (axis from 0.7)")
        axes.legend(loc="upper left")
        axes.set_title("Surgery looks worse, and is better")
