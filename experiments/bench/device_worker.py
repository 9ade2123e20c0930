"""Times exported samplers on a device, beside JAX's own loop and samplers in JAX.

    python -m experiments.bench.device_worker build/device --out=device.jsonl

Needs NumPy, SciPy and JAX, and no TensorFlow: the folder has what
`experiments.bench.device` exported, `dense` and `structured`.  A record is written
after each case, the cases of fewest chains first; those that the time left does not
hold are recorded as skipped.  NumPyro and BlackJAX are measured where they are
installed.
"""

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.bench.device_cases import (
    COPY_BYTES,
    DESIGNS,
    OTHERS,
    Bench,
    Skipped,
    Timed,
    copy_seconds,
    measure_other,
    measure_ours,
    prepare,
)
from experiments.export.folder import MANIFEST, sha256
from experiments.records import provenance, record
from experiments.records.run_dir import utc_now

CHAINS = (1, 16, 64, 256, 1024)
MINUTES = 9.0


def cases(bench: Bench, chains: Sequence[int]) -> list[tuple[str, int, Callable]]:
    """System, chains and what measures it; the fewest chains first."""
    return [
        (
            f"ours_{name}" if name in DESIGNS else name,
            number,
            functools.partial(
                measure_ours if name in DESIGNS else measure_other, bench, name, number
            ),
        )
        for number in sorted(set(chains))
        for name in (*DESIGNS, *OTHERS)
    ]


def run(
    bench: Bench,
    chains: Sequence[int],
    *,
    deadline: float,
    out: Path,
    origin: dict[str, Any],
) -> list[record.Record]:
    """Measures all cases that end before the deadline, and appends their records.

    deadline: of `time.monotonic`.  A case is not begun where its time, as of the
      system's last case with fewer chains, does not fit: compilation as it was, and the
      rest by how many more chains it has.  Nor is one of a system that failed.
    """
    records = []
    took: dict[str, tuple[int, float, float]] = {}  # chains, build, the rest
    failed: set[str] = set()
    bytes_copied = COPY_BYTES

    def copy() -> Timed:
        seconds = copy_seconds(bench.device, bytes_copied)
        return Timed(
            {"calls": [seconds]}, {"bytes": [2 * bytes_copied]}, {}, {"passed": True}
        )

    for system, number, measure in [("copy", 1, copy), *cases(bench, chains)]:
        began = time.monotonic()
        expected = 0.0
        if system in took:
            fewer, build, rest = took[system]
            expected = build + rest * number / fewer
        facts: dict[str, Any] = {"seconds": {}, "work": {}, "check": {}}
        settings: dict[str, Any] = {"num_chains": number}
        status, reason = "ok", ""
        try:
            if system in failed:
                raise Skipped("failed with fewer chains")
            if began + expected > deadline:
                raise Skipped(
                    f"no time left: about {expected:.0f} s, of "
                    f"{max(0.0, deadline - began):.0f} s"
                )
            timed = measure()
            facts = {
                name: getattr(timed, name) for name in ("seconds", "work", "check")
            }
            settings |= timed.settings
            build = timed.seconds.get("build", 0.0)
            took[system] = (number, build, time.monotonic() - began - build)
        except Skipped as error:
            status, reason = "skipped", str(error)
        except Exception as error:  # a device's errors are of many kinds
            text = provenance.scrub(
                " ".join(f"{type(error).__name__}: {error}".split())
            )
            status, reason = "failed", text[:300]
            failed.add(system)
        one = record.Record(
            experiment="device",
            system=system,
            round=1,
            problem=_described(bench),
            hardware=provenance.hardware()
            | {
                "device": bench.device.platform,
                "device_kind": _device_kind(bench.device),
            },
            settings=settings
            | {
                "step_size": bench.settings["warmup"]["step_size"],
                "max_depth": bench.settings["warmup"]["max_depth"],
                "precision": "highest",
            },
            status=status,
            reason=reason,
            provenance=origin | {"started_at": utc_now()},
            **facts,
        )
        record.append(out, one)
        records.append(one)
        print(_outcome(one), flush=True)
    return records


def _described(bench: Bench) -> dict[str, Any]:
    problem = bench.problem
    return {name: getattr(problem, name) for name in ("name", "source", "rows", "dim")}


def _device_kind(device: Any) -> str:
    return provenance.cpu_model() if device.platform == "cpu" else device.device_kind


def _outcome(one: record.Record) -> str:
    name = f"{one.system}, chains: {one.settings['num_chains']}"
    if one.status != "ok":
        return f"{name:32} {one.status}: {one.reason}"
    if one.system == "copy":
        rate = one.work["bytes"][0] / one.seconds["calls"][0] / 1e9
        return f"{'copy':32} {rate:10.1f} GB/s"
    each = 1000 * sum(one.seconds["calls"]) / sum(one.work["steps"])
    wrong = "" if one.check["passed"] else f"  WRONG: {one.check.get('reason')}"
    return f"{name:32} {each:10.4f} ms per leapfrog{wrong}"


def origin_of(bench: Bench, argv: Sequence[str]) -> dict[str, Any]:
    """Where the records come from, and the exports' digests."""
    return {
        **provenance.git_state(),
        "versions": provenance.versions(),
        "argv": [provenance.scrub(one) for one in argv],
        "bench_id": record.new_bench_id(),
        "exports": {
            name: {
                "sha256": sha256(bench.folder / name / MANIFEST),
                "commit": manifest["provenance"]["commit"],
            }
            for name, manifest in bench.manifests.items()
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code, 2 for what is refused."""
    began = time.monotonic()
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="has dense/ and structured/")
    parser.add_argument("--out", type=Path, required=True, help="records are added")
    what = "numbers of chains, such as 1,16"
    parser.add_argument("--chains", default=",".join(map(str, CHAINS)), help=what)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="time budget")
    parser.add_argument("--device", default="", help="cpu, gpu; default: JAX's")
    parser.add_argument("--provenance", default="{}", help="JSON, into each record")
    given = parser.parse_args(argv)
    counts = given.chains.split(",")
    try:
        if not all(part.isdecimal() and int(part) > 0 for part in counts):
            raise ValueError(
                f"--chains: given {given.chains!r}, wanted numbers such as 1,16"
            )
        if not 0 < given.minutes < float("inf"):
            raise ValueError(f"--minutes: given {given.minutes}, wanted more than 0")
        bench = prepare(given.folder, given.device)
    except ValueError as error:
        print(f"device: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    run(
        bench,
        [int(part) for part in counts],
        deadline=began + 60 * given.minutes,
        out=given.out,
        origin=origin_of(bench, argv) | json.loads(given.provenance),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
