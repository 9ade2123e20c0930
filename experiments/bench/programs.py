"""Every program of the paper, one after the other, and whether its claims hold."""

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.bench import harness
from experiments.bench.subprocesses import REPO
from experiments.programs import claims
from experiments.records import record
from experiments.report import page
from experiments.training.checks import check_bool, check_number

CONFIGS = REPO / "configs" / "programs"
TINY = "_tiny"  # ends the name of a config that shrinks a program


def run_programs(
    *,
    run_dir: Path,
    seed: int,
    out: str,
    programs: Sequence[str] | None = None,
    tiny: bool = False,
    timeout_seconds: float = 600.0,
    max_minutes: float = 40.0,
    resume: bool = False,
) -> Path:
    """Runs each program as `bin/train` does, and renders the page of their claims.

    programs: names below configs/programs, in the order in which they run; None: all.
    tiny: whether to run their tiny configs.
    timeout_seconds: of one program.
    max_minutes: of this call.  A program that runs then is stopped, and no other one
      begins.
    resume: whether to go on with the run in `run_dir`: what came to its end there, by
      the same config, is not run again.
    out: see `harness.Benchmark`.  plots/programs has each program's picture.

    Returns the table's path.  Raises ValueError, before anything runs, for wrong
    arguments; CheckFailed when a program failed or a claim does not hold.
    """
    check_number("max_minutes", max_minutes, above=0)
    check_bool("tiny", tiny)
    end = time.monotonic() + 60 * max_minutes
    bench = harness.start(
        "programs", "program_worker", run_dir, seed, 1, out, timeout_seconds
    )
    known = _names()
    names = known if programs is None else programs
    harness.check_some_of("programs", names, known)
    configs = {name: _config(name, tiny) for name in names}
    done: dict[tuple[int, str], record.Record] = {}
    if resume:
        bench, earlier = harness.resumed(bench, lambda one: one.system)
        done = {
            key: one
            for key, one in earlier.items()
            if one.status == "ok"
            and one.settings == _settings(bench, configs.get(one.system))
        }
    jobs = {name: _job(bench, name, config, end) for name, config in configs.items()}
    records = harness.run_rounds(bench, jobs, done=done)
    pictures = REPO / out / "plots" / "programs"
    pictures.mkdir(parents=True, exist_ok=True)
    for one in records:
        if one.status == "ok":
            picture = run_dir / one.system / claims.PICTURE
            shutil.copyfile(picture, pictures / f"{one.system}.png")
    tables = harness.finish(bench, records, page.render_programs)
    return tables / "programs.md"


def _names() -> list[str]:
    return sorted(
        path.stem for path in CONFIGS.glob("*.gin") if not path.stem.endswith(TINY)
    )


def _config(name: str, tiny: bool) -> str:
    """The path of a program's config from the repository's root."""
    path = CONFIGS / f"{name}{TINY if tiny else ''}.gin"
    if not path.exists():
        raise ValueError(f"programs: given {name!r}, wanted one with {path.name}")
    return str(path.relative_to(REPO))


def _settings(bench: harness.Benchmark, config: str | None) -> dict[str, Any]:
    return {"seed": bench.seed, "config": config}


def _job(bench: harness.Benchmark, name: str, config: str, end: float) -> harness.Job:
    """Runs one program and makes its record.  end: by the monotonic clock."""
    threads = len(os.sched_getaffinity(0))

    def job(number: int) -> record.Record:
        task = {
            "mode": "run",
            "config": config,
            "folder": str((bench.run_dir / name).resolve()),
            "seed": bench.seed,
        }
        left = end - time.monotonic()
        if left > 0:
            limit = min(bench.timeout_seconds, left)
            (result,) = harness.run_tasks(
                bench._replace(timeout_seconds=limit),
                f"run-{name}",
                [task],
                threads=threads,
            )
        else:
            result = harness.not_begun()
        return harness.make_record(
            bench,
            result,
            system=name,
            round=number,
            problem={"name": name},
            hardware={"threads": threads},
            settings=_settings(bench, config),
            check=result.get("check", {}),
        )

    return job
