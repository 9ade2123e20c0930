"""The autoencoders' training steps, timed beside the same models written by hand.

The VQ-VAE, and the audio VAE on one device and with each core of its virtual topology
on a logical device.  All systems start from the same weights and read the same examples
and random numbers.  A system whose losses differ from ours gets no ratio.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.bench import harness, step_benchmark
from experiments.report import page

WORKER = "experiments.bench.vae_worker"
CORES = "ours_cores"
KINDS = ("images", "audio")

# Ways to train: by the kind of model, the module of experiments.baselines; "": ours.
SYSTEMS: dict[str, dict[str, str]] = {
    step_benchmark.OURS: dict.fromkeys(KINDS, ""),
    CORES: {"audio": ""},
    "handwritten_tf": {"images": "vae.vq_vae_tf", "audio": "vae.audio_vae_tf"},
    "flax": {"images": "vae.vq_vae_flax"},
}

Configs = Mapping[str, Mapping[str, Any]]


def measure_vae(
    *,
    run_dir: Path,
    seed: int,
    images: Configs,
    audio: Configs,
    num_rounds: int,
    out: str,
    timeout_seconds: float = 600.0,
) -> Path:
    """Measures training steps; appends the records and renders their page.

    images: by the name of a VQ-VAE, its `sizes` (fields of `vq_vae.Sizes`),
      `codebook` (of `vq_vae.Codebook`), `batch_size`, `systems` (of SYSTEMS, ours
      first), and for at least how long and how often a system repeats its step in a
      round: `min_seconds` and `min_calls`.
    audio: likewise, of `audio_vae.Sizes` and without a codebook.
    out: the folder of records/ and tables/, from the repository's root.
    timeout_seconds: of one system in one round.

    Returns the table's path.  Raises ValueError, before anything runs, for arguments of
    which no benchmark can be made; CheckFailed when a system failed or its losses
    differ from ours.
    """
    harness.check_run(num_rounds, out, timeout_seconds)
    for kind, configs in zip(KINDS, (images, audio), strict=True):
        harness.check_dict(kind, configs)
    names = [*images, *audio]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"images, audio: given {names}, wanted one or more, none twice"
        )
    num_cores = {
        name: _check_model(kind, f"{kind}, {name}", config)
        for kind, configs in zip(KINDS, (images, audio), strict=True)
        for name, config in configs.items()
    }
    bench = harness.start(
        "vae", WORKER, run_dir=run_dir, seed=seed, timeout_seconds=timeout_seconds
    )
    jobs = {"probe": step_benchmark.probe_job(bench)}
    for kind, configs in zip(KINDS, (images, audio), strict=True):
        for name, config in configs.items():
            codebook = dict(config.get("codebook", {}))
            cores = f"core:{num_cores[name]}"
            jobs |= step_benchmark.training_jobs(
                bench,
                name,
                config,
                task={"mode": kind, "codebook": codebook},
                problem={"kind": kind, "codebook": codebook},
                systems={
                    system: {
                        "module": SYSTEMS[system][kind],
                        "mesh": cores if system == CORES else "batch:1",
                    }
                    for system in config["systems"]
                },
            )
    records = harness.run_rounds(bench, jobs, num_rounds, step_benchmark.step_figure)
    harness.finish(bench, records, page.render_vae, out)
    return harness.REPO / out / "tables" / "vae.md"


def _check_model(kind: str, where: str, config: Any) -> int:
    """The number of cores of the model's virtual topology; 1 for images.

    Raises ValueError for a config of which no model can be made.
    """
    # Imported here because it takes seconds: TensorFlow.
    from experiments import audio_vae, vq_vae
    from experiments.audio_vae import network as audio_network
    from experiments.vq_vae import network as image_network

    known = [system for system, modules in SYSTEMS.items() if kind in modules]
    more = ("codebook",) if kind == "images" else ()
    step_benchmark.check_training(where, config, known, more)
    if kind == "images":
        sizes = step_benchmark.make_sizes(
            f"{where}: sizes", vq_vae.Sizes, config["sizes"]
        )
        codebook = step_benchmark.make_sizes(
            f"{where}: codebook", vq_vae.Codebook, config["codebook"]
        )
        with harness.errors_with(where):
            image_network.check_sizes(sizes, codebook)
        return 1
    sizes = step_benchmark.make_sizes(
        f"{where}: sizes", audio_vae.Sizes, config["sizes"]
    )
    with harness.errors_with(where):
        audio_network.check_sizes(sizes)
    return int(sizes.num_cores)
