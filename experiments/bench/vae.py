"""The autoencoders' training steps, timed beside the same written by hand.

The vector-quantised one and that of audio, which trains on one device and with each
core of its virtual topology on a logical device of its own.  All begin with the same
weights, are given the same examples and the same draws; systems take turns, each turn a
fresh process.  A system whose losses are not ours gets no ratio.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.bench import step_benchmark, subprocesses
from experiments.records import record
from experiments.report import page

REPO = Path(__file__).resolve().parents[2]
EXPERIMENT = "vae"
WORKER = "experiments.bench.vae_worker"
RATE = 1e-4  # of plain Adam
OURS, CORES = "ours", "ours_cores"
KINDS = ("images", "audio")


# Ways to train: by kind of model, the module of experiments.baselines; "": ours.
SYSTEMS: dict[str, dict[str, str]] = {
    OURS: dict.fromkeys(KINDS, ""),
    CORES: {"audio": ""},
    "handwritten_tf": {"images": "vae.vq_vae_tf", "audio": "vae.audio_vae_tf"},
    "flax": {"images": "vae.vq_vae_flax"},
}
KEYS = ("sizes", "batch_size", "systems", "min_seconds", "min_calls")


def measure_vae(
    *,
    run_dir: Path,
    seed: int,
    images: Mapping[str, Mapping[str, Any]],
    audio: Mapping[str, Mapping[str, Any]],
    num_rounds: int,
    out: str,
    timeout_seconds: float = 600.0,
) -> Path:
    """Measures steps of training; appends the records and renders what they say.

    images: by name, a vector-quantised autoencoder's `sizes` (fields of
      `vq_vae.Sizes`), `codebook` (of `vq_vae.Codebook`), `batch_size`,
      `systems` (of SYSTEMS), `min_seconds` and `min_calls` of a turn.
    audio: likewise, of `audio_vae.Sizes` and without a codebook.
    out: folder of records/, tables/ and plots/, from the repository's root.

    Returns the table's path.  Raises ValueError, before anything runs, for unknown
    systems and keys, and sizes of which no model can be made; CheckFailed when a turn
    of ours failed, or another's losses are not ours.
    """
    cores = _check_arguments(images, audio, num_rounds)
    known = step_benchmark.origin_of(
        json.loads((run_dir / "provenance.json").read_text())
    )
    bench = step_benchmark.Bench(
        EXPERIMENT, WORKER, run_dir, seed, timeout_seconds, known
    )

    kept: list[record.Record] = []
    first_bits: dict[str, list[float]] = {}
    out_of_race: set[str] = set()
    problems = [("images", *of) for of in images.items()]
    problems += [("audio", *of) for of in audio.items()]
    for number in range(1, num_rounds + 1):
        kept.append(step_benchmark.probe(bench, number))
        for kind, name, given in problems:
            for system in given["systems"]:
                if f"{name}/{system}" in out_of_race:
                    continue
                mesh = f"core:{cores[name]}" if system == CORES else "batch:1"
                made = _train(bench, number, kind, name, given, system, mesh)
                if made.status != "ok":
                    out_of_race.add(f"{name}/{system}")
                else:
                    step_benchmark.hold(made, first_bits, is_ours=system == OURS)
                told = step_benchmark.told(made, step_benchmark.a_step)
                said = f"round {number}/{num_rounds}  {told}"
                step_benchmark.keep(bench, kept, made, said)
    step_benchmark.finish(kept, page.render_vae, out)
    return REPO / out / "tables" / "vae.md"


def _check_arguments(
    images: Mapping[str, Mapping[str, Any]],
    audio: Mapping[str, Mapping[str, Any]],
    num_rounds: int,
) -> dict[str, int]:
    """The cores of each audio model's topology, by its name."""
    twice = sorted(set(images) & set(audio))
    if num_rounds < 1 or twice or not {*images, *audio}:
        raise ValueError(
            f"measure_vae: given {num_rounds} rounds and {[*images, *audio]}, "
            "wanted at least 1, and problems of different names"
        )
    cores = {}
    for kind, problems in zip(KINDS, (images, audio), strict=True):
        wanted = KEYS if kind == "audio" else (*KEYS, "codebook")
        for name, given in problems.items():
            what = f"{kind}, {name}"
            subprocesses.check_keys(what, given, wanted)
            step_benchmark.check_least(
                what, given, {"batch_size": 1, "min_calls": 1, "min_seconds": 0}
            )
            known = [s for s, modules in SYSTEMS.items() if kind in modules]
            unknown = [s for s in given["systems"] if s not in known]
            if unknown or list(given["systems"])[:1] != [OURS]:
                raise ValueError(
                    f"{what}: systems: given {list(given['systems'])}, wanted {OURS!r} "
                    f"first, whose losses the others' are held against, of {known}"
                )
            try:
                cores[name] = _check_sizes(kind, what, given)
            except TypeError as error:  # a number where a sequence is wanted, say
                raise ValueError(f"{what}: sizes: {error}") from error
            except ValueError as error:
                raise ValueError(f"{what}: {error}") from error
    return cores


def _check_sizes(kind: str, what: str, given: Mapping[str, Any]) -> int:
    """The cores of the model's virtual topology; 1 for images."""
    # TensorFlow: seconds.
    from experiments import audio_vae, vq_vae
    from experiments.audio_vae import network as audio_network
    from experiments.vq_vae import network as image_network

    def made(name: str, fields: Any) -> Any:
        needed = [f for f in fields._fields if f not in fields._field_defaults]
        optional = tuple(fields._field_defaults)
        subprocesses.check_keys(f"{what}: {name}", given[name], needed, optional)
        return fields(**given[name])

    if kind == "images":
        sizes = made("sizes", vq_vae.Sizes)
        image_network.check_sizes(sizes, made("codebook", vq_vae.Codebook))
        return 1
    clips = made("sizes", audio_vae.Sizes)
    audio_network.check_sizes(clips)
    return int(clips.num_cores)


def _train(
    bench: step_benchmark.Bench,
    number: int,
    kind: str,
    name: str,
    given: Mapping[str, Any],
    system: str,
    mesh: str,
) -> record.Record:
    """The record of one system's steps, its losses not yet held against ours."""
    task = {
        "mode": kind,
        "sizes": dict(given["sizes"]),
        "codebook": dict(given.get("codebook", {})),
        "batch": given["batch_size"],
        "rate": RATE,
        "min_seconds": given["min_seconds"],
        "min_calls": given["min_calls"],
        "module": SYSTEMS[system][kind],
        "mesh": mesh,
    }
    return step_benchmark.turn(
        bench,
        number,
        system=f"{name}/{system}",
        task=task,
        problem={
            "name": name,
            "kind": kind,
            "sizes": task["sizes"],
            "codebook": task["codebook"],
            "batch": given["batch_size"],
        },
    )
