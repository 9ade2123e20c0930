"""Files read a second: our readers, tf.data's decoders, and Pillow or soundfile.

    python -m experiments.bench.readers [--rounds=5] [--out=results]

Folders of made files are read by each system in turn, each in fresh processes: one with
two threads, or two with one each.  Then trainings on the folders record what share of a
step they wait for data.  9 minutes on 2 cores.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from PIL import Image

from experiments.bench import subprocesses
from experiments.bench.reader_worker import BATCH, SYSTEMS
from experiments.datasets import natural_image_crops
from experiments.records import provenance, record
from experiments.records.run_dir import utc_now
from experiments.report import page

NUM_FILES = 24 * BATCH
SIDE, MIDDLE = 256, 224  # pixels of a file, and of what is cut out of it
RATE, SECONDS = 16000, 4
WARM_PASSES = 3
TOLERANCE = 1e-3  # relative, between the systems' means of all they read
TIMEOUT = 300.0  # seconds
TRAINING_STEPS = 30


class Training(NamedTuple):
    """A config whose waiting for data is recorded."""

    config: str
    kind: str = ""  # of the folder that it reads; "": the config needs none
    reader: str = ""


TRAININGS = (
    Training("image_transformer/own_images", "jpeg", "image_files"),
    Training("image_transformer/natural_crops32"),
    Training("vq_vae/own_images", "jpeg", "image_files"),
    Training("audio_vae/audio_files", "flac", "audio_files"),
    Training("audio_vae/tones"),
)


def make_files(folder: Path, kind: str, num: int = NUM_FILES) -> None:
    """Crops of photographs, or chords with noise, as files of one kind."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    images = natural_image_crops(size=SIDE, scales=(1,)).training
    time = np.arange(SECONDS * RATE) / RATE
    for number in range(num):
        path = folder / f"{number:04d}.{kind}"
        if kind in ("jpeg", "png"):
            pixels = images.example(number, np.random.default_rng(number))
            Image.fromarray(pixels).save(path, quality=90)
        else:
            pitches = random.uniform(100, 2000, (4, 1))
            sound = 0.2 * np.sin(2 * np.pi * pitches * time).sum(axis=0)
            sound += 0.01 * random.normal(size=len(time))
            soundfile.write(path, sound, RATE, subtype="PCM_16")


def compare(
    place: Path, kind: str, processes: int, rounds: int, shared: Mapping[str, Any]
) -> list[record.Record]:
    """Records of one kind of file, read by so many processes.  Systems take turns."""
    made = []
    for number in range(rounds):
        results = {}
        for system in SYSTEMS:
            tasks = [
                {
                    "mode": "read",
                    "system": system,
                    "kind": kind,
                    "folder": str(place / kind),
                    "held_out": str(place / f"{kind}-held-out"),
                    "size": MIDDLE if kind in ("jpeg", "png") else SECONDS * RATE,
                    "rate": RATE,
                    "threads": 2 // processes,
                    "process": index,
                    "processes": processes,
                    "warm_passes": WARM_PASSES,
                }
                for index in range(processes)
            ]
            results[system] = subprocesses.run(
                place / f"{kind}-{processes}-{system}-{number}",
                tasks,
                worker="experiments.bench.reader_worker",
                threads=2 // processes,
                timeout=TIMEOUT,
            )
        wanted = _mean(results["plain"])
        for system, parts in results.items():
            made.append(_record(kind, processes, system, number, parts, wanted, shared))
            print(kind, processes, system, json.dumps(made[-1].seconds), flush=True)
    return made


def _mean(parts: Sequence[Mapping[str, Any]]) -> float:
    """The mean of all that the processes read."""
    return statistics.fmean(part.get("mean", float("nan")) for part in parts)


def _record(
    kind: str,
    processes: int,
    system: str,
    number: int,
    parts: Sequence[Mapping[str, Any]],
    wanted: float,
    shared: Mapping[str, Any],
) -> record.Record:
    bad = next((part for part in parts if part["status"] != "ok"), None)
    seconds, work, check = {}, {}, {}
    if bad is None:
        # The processes run side by side, so the slowest one ends a pass.
        seconds = {
            "cold": max(part["seconds"]["cold"] for part in parts),
            "warm": statistics.median(
                max(times)
                for times in zip(*(p["seconds"]["warm"] for p in parts), strict=True)
            ),
        }
        work = {"examples": sum(part["examples"] for part in parts)}
        found = _mean(parts)
        check = {"passed": abs(found / wanted - 1) <= TOLERANCE, "mean": found}
        check |= {"against": "plain", "tolerance": TOLERANCE}
    return record.Record(
        experiment="readers",
        system=system,
        round=number,
        problem={"name": kind, "files": NUM_FILES},
        settings={"processes": processes, "threads": 2 // processes, "batch": BATCH},
        status=bad["status"] if bad else "ok",
        reason=bad["reason"] if bad else "",
        seconds=seconds,
        work=work,
        check=check,
        **shared,
    )


def waiting(
    place: Path, training: Training, shared: Mapping[str, Any]
) -> list[record.Record]:
    """Records of the seconds of a step, and of those that it waits for its batch.

    A record is a log line of the training; the first, which compiles, is left out.
    """
    folder = place / training.config.replace("/", "-")
    given = {"training.LoopSettings.num_steps": TRAINING_STEPS}
    given |= {"training.LoopSettings.log_every": 5}
    given |= {"training.LoopSettings.evaluate_every": None}
    if training.kind:
        given[f"datasets.{training.reader}.path"] = str(place / training.kind)
    command = [
        str(subprocesses.REPO / "bin" / "train"),
        f"--gin_config=configs/{training.config}.gin",
        f"--workdir={folder}",
        *(f"--gin_param={name}={value!r}" for name, value in given.items()),
    ]
    done = subprocess.run(
        command, cwd=subprocesses.REPO, capture_output=True, text=True, check=False
    )
    common = {
        "experiment": "readers",
        "system": "ours",
        "problem": {"name": f"training {training.config}", "files": training.kind},
        "settings": {"processes": 1, "steps": TRAINING_STEPS},
        "work": {},
        **shared,
    }
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        failed = {"status": "failed", "reason": lines[-1], "seconds": {}, "check": {}}
        return [record.Record(round=0, **common, **failed)]
    events = [
        json.loads(line)
        for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    ]
    steps = [event for event in events if "data_seconds" in event][1:]
    return [
        record.Record(
            round=number,
            **common,
            status="ok",
            seconds={"step": one["step_seconds"], "data": one["data_seconds"]},
            check={"passed": True},
        )
        for number, one in enumerate(steps)
    ]


def main() -> None:
    """Prints the table; writes it and its records below --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=subprocesses.REPO / "results")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    shared = {
        "hardware": provenance.hardware(),
        "provenance": provenance.git_state()
        | {"versions": provenance.versions(), "started_at": utc_now()}
        | {"bench_id": record.new_bench_id(), "argv": sys.argv[1:]},
    }
    path = given.out / "records" / "readers.jsonl"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        records = []
        for kind in ("jpeg", "png", "wav", "flac"):
            make_files(place / kind, kind)
            make_files(place / f"{kind}-held-out", kind, num=1)
            for processes in (1, 2):
                records += compare(place, kind, processes, given.rounds, shared)
        for training in TRAININGS:
            records += waiting(place, training, shared)
    for one in records:
        record.append(path, one)
    page.render_readers(records_path=path, out_dir=given.out)
    print((given.out / "tables" / "readers.md").read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main()
