"""The device's benchmark: all systems pass their checks, in time, and no TensorFlow."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.bench import device
from experiments.bench.harness import Benchmark
from experiments.datasets.regression import RegressionProblem
from experiments.inference import SamplerSettings
from experiments.records import record
from experiments.report import page

pytest.importorskip("jax")
from experiments.bench import device_cases
from experiments.bench import device_worker as worker

REPO = Path(__file__).resolve().parents[3]
BLOCKED = "tensorflow ppl_core gin PIL soundfile sklearn pandas matplotlib".split()


def regression(rows=400, dim=3):
    random = np.random.default_rng(0)
    features = random.normal(size=(rows, dim)).astype(np.float32)
    # A group of two columns, of which one is hot in each row, and an intercept.
    hot = random.integers(2, size=rows)
    features = np.c_[features, hot == 0, hot == 1, np.ones(rows)].astype(np.float32)
    return RegressionProblem(
        name="made",
        source="made data",
        features=features,
        labels=random.integers(2, size=rows).astype(np.int32),
        start=np.full(dim + 3, 0.1, np.float32),
    )


@pytest.mark.slow
def test_all_systems_are_measured_without_tensorflow_and_pass_their_checks(tmp_path):
    pytest.importorskip("numpyro")
    pytest.importorskip("blackjax")
    bench = Benchmark("device", "device_worker", tmp_path, 0, 1, "", 60.0, {})
    settings = SamplerSettings(step_size=0.02, max_depth=6, num_results=3)
    exports, problem = tmp_path / "exports", regression()
    for design in ("dense", "structured"):
        args = exports / design, design, problem, settings, [1, 4], bench
        device._export(*args)
        device._check_export(exports / design, problem, settings, [1, 4])
    fewer = regression(rows=300)
    with pytest.raises(ValueError, match="holds an export of.*400.*wanted.*300"):
        device._check_export(exports / "dense", fewer, settings, [1, 4])
    (exports / "problem.json").write_text('{"source": "made data"}')
    code = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocker())
from experiments.bench import device_cases
device_cases.COPY_BYTES, device_cases.CALL_SECONDS = 1 << 20, 0.05
from experiments.bench import device_worker
sys.exit(device_worker.main(sys.argv[1:]))
"""
    out = tmp_path / "records" / "device.jsonl"
    args = [str(exports), f"--out={out}", "--chains=1,4,5", "--device=cpu"]
    subprocess.run([sys.executable, "-c", code, *args], check=True, cwd=REPO)
    found = {(r.system, r.settings["num_chains"]): r for r in record.read(out)}
    ours = {("ours_dense", 5), ("ours_structured", 5)}
    assert len(found) == 1 + 3 * 5
    for key, one in found.items():
        if key in ours:
            assert (one.status, one.reason) == ("skipped", "not exported for 5 chains")
        else:
            assert (one.status, one.check["passed"]) == ("ok", True), (key, one)
    equal = found["ours_structured", 1].check["draws"]
    assert equal["leapfrog counts as the reference's"] == "3 of 3"
    page.render_device(records_path=out, out_dir=tmp_path)
    text = (tmp_path / "tables" / "nuts_device.md").read_text()
    assert "skipped: not exported for 5 chains" in text


class Device:
    platform, device_kind = "gpu", "a GPU"

    def memory_stats(self):
        return {"bytes_limit": 10**6}


@pytest.fixture
def bench():
    settings = {"warmup": {"step_size": 0.1, "max_depth": 5}}
    problem = regression()
    return device_cases.Bench(Device(), Path(), problem, None, settings, {}, {})


def test_a_case_is_written_at_once_and_the_largest_are_dropped_in_time(
    bench, tmp_path, monkeypatch
):
    now, out, lines = [0.0], tmp_path / "device.jsonl", []
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(worker, "copy_seconds", lambda *_: 1.0)

    def measure(bench, name, chains):
        lines.append(len(record.read(out)))
        now[0] += 10 + chains  # a compilation of 10 s
        if name == "numpyro":
            raise RuntimeError("out of memory\nat /some/place")
        timed = {"build": 10.0, "calls": [1.0]}
        return device_cases.Timed(
            timed, {"steps": [1], "leapfrogs": [1]}, {}, {"passed": True}
        )

    monkeypatch.setattr(worker, "measure_ours", measure)
    monkeypatch.setattr(worker, "measure_other", measure)
    made = worker.run(bench, [16, 1, 4], deadline=120.0, out=out, origin={})
    assert lines == [*range(1, 9), 10]
    assert [dataclasses.asdict(one) for one in record.read(out)] == [
        dataclasses.asdict(one) for one in made
    ]
    assert [one.settings["num_chains"] for one in made] == [1, *[1] * 5, *[4] * 5] + [
        16
    ] * 5
    failed = made[4]
    assert (failed.system, failed.status) == ("numpyro", "failed")
    assert failed.reason == "RuntimeError: out of memory at .../place"
    reasons = {(one.system, one.settings["num_chains"]): one.reason for one in made}
    assert reasons["numpyro", 4] == "failed with fewer chains"
    late = [r for (name, chains), r in reasons.items() if chains == 16]
    assert sum("no time left: about 26 s" in reason for reason in late) == 4


def test_more_than_the_devices_memory_is_skipped_with_both_sizes(bench):
    device_cases.check_memory(bench, 50)
    with pytest.raises(device_cases.Skipped, match="takes .*1,000,000") as error:
        device_cases.check_memory(bench, 200)
    assert "wanted" in str(error.value)


def test_wrong_values_are_refused_in_one_line(tmp_path, capsys):
    for args, wanted in [
        (["--chains=1,none"], "--chains: given '1,none', wanted numbers"),
        (["--minutes=0"], "--minutes: given 0.0, wanted more than 0"),
        (["--device=abacus"], "--device: given 'abacus', wanted one of ['cpu'"),
        (["--device=cpu"], "manifest.json, wanted one of bin/export"),
    ]:
        out = f"--out={tmp_path / 'device.jsonl'}"
        assert worker.main([str(tmp_path), out, *args]) == 2
        err = capsys.readouterr().err
        assert err.startswith("device: ") and wanted in err and err.count("\n") == 1
