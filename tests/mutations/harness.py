"""Plants each bug of the table in a copy of the code and runs what is to catch it.

The working tree stays as it is.
"""

import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.mutations import runs, transitions
from tests.mutations.bug import Bug

BUGS = (*transitions.BUGS, *runs.BUGS)
REPO = Path(__file__).resolve().parents[2]
COPIED = ("ppl_core", "experiments", "tests", "pyproject.toml")
LIMIT = 600  # seconds of one bug's tests
TOGETHER = 2
PRELOADED = ["tensorflow", "tensorflow_probability", "scipy.stats", "arviz", "pytest"]


class Outcome(NamedTuple):
    """How the tests of one tree ended."""

    caught_by: str  # the first test that failed; nothing: all passed
    wrong: str  # why the run says nothing: no tests, an import error, no end
    seconds: float


def planted(text: str, bug: Bug) -> str:
    """The text of the bug's file with the bug in it.

    Raises ValueError unless what it replaces is there exactly once.
    """
    found = text.count(bug.before)
    if found != 1:
        raise ValueError(
            f"{bug.name}: the text it replaces is in {bug.file} {found} times, wanted "
            "once: mend tests/mutations"
        )
    return text.replace(bug.before, bug.after)


def copy_of(tree: Path, to: Path) -> Path:
    """A copy of what the tests need of a tree."""
    to.mkdir()
    for name in COPIED:
        if (tree / name).is_dir():
            shutil.copytree(tree / name, to / name)
        else:
            shutil.copy2(tree / name, to / name)
    return to


def outcome_of(tree: Path, tests: list[str], limit: float = LIMIT) -> Outcome:
    """Runs tests of a tree, in a process of its own, up to the first failure.

    The process is forked from one that has imported the libraries, and none of ours.
    """
    began = time.monotonic()
    told, output = tree / "failed.txt", tree / "output.txt"
    process = multiprocessing.get_context("forkserver").Process(
        target=_run, args=(tree, tests, told, output)
    )
    process.start()
    process.join(limit)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
        wrong = f"no end after {limit:.0f} s"
    elif code not in (0, 1):
        lines = output.read_text(errors="replace").splitlines() or [""]
        wrong = f"pytest ended with {code}: {lines[-1]}"
    elif code == 1 and not told.exists():
        wrong = "the process failed, and no test did"
    else:
        wrong = ""
    caught_by = told.read_text() if code == 1 and told.exists() else ""
    return Outcome(caught_by, wrong, time.monotonic() - began)


def _run(tree: Path, tests: list[str], told: Path, output: Path) -> None:
    for number in (1, 2):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    os.chdir(tree)
    # The parent's modules are those of the working tree.
    for name in list(sys.modules):
        if name.split(".")[0] in ("tests", "experiments", "ppl_core"):
            del sys.modules[name]
    sys.path[:] = [str(tree), *(p for p in sys.path if p not in ("", str(REPO)))]
    os.environ["PYTHONPATH"] = str(tree)
    import pytest

    class Recorder:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed and not told.exists():
                told.write_text(report.nodeid.replace("\n", " "))

    options = ["-q", "-x", "-n0", "--tb=short", "-p", "no:cacheprovider"]
    code = pytest.main([*options, f"--rootdir={tree}", *tests], plugins=[Recorder()])
    sys.exit(int(code))


def verdict(bug: Bug, outcome: Outcome) -> str:
    if outcome.wrong:
        return f"NOT JUDGED: {outcome.wrong}"
    if not outcome.caught_by:
        return "SURVIVED"
    return outcome.caught_by.removeprefix("tests/")


def main(*chosen: str) -> int:
    """Prints the table of all bugs, or of those with any of `chosen` in their names.

    Returns the exit code: 1 where a bug is not caught, or the tests fail without any.
    Raises ValueError where the text that a bug replaces is not found exactly once.
    """
    bugs = [bug for bug in BUGS if any(part in bug.name for part in chosen or [""])]
    texts = {bug.name: planted((REPO / bug.file).read_text(), bug) for bug in bugs}
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3"}
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(PRELOADED)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        sound = copy_of(REPO, Path(folder) / "sound")
        tests = sorted({test for bug in bugs for test in bug.tests})
        outcome = outcome_of(sound, tests, LIMIT * TOGETHER)
        if outcome.caught_by or outcome.wrong:
            print((sound / "output.txt").read_text())
            print("without any bug, the tests fail: mend them first")
            return 1
        print(f"without any bug, all pass ({outcome.seconds:.0f} s)", flush=True)

        def judge(number_and_bug: tuple[int, Bug]) -> Outcome:
            number, bug = number_and_bug
            tree = copy_of(sound, Path(folder) / str(number))
            (tree / bug.file).write_text(texts[bug.name])
            found = outcome_of(tree, list(bug.tests))
            shutil.rmtree(tree)
            return found

        missed = 0
        width = max(len(bug.name) for bug in bugs)
        with ThreadPoolExecutor(TOGETHER) as pool:
            outcomes = pool.map(judge, enumerate(bugs))
            for bug, outcome in zip(bugs, outcomes, strict=True):
                told = verdict(bug, outcome)
                print(
                    f"{bug.name:{width}}  {outcome.seconds:4.0f} s  {told}", flush=True
                )
                missed += not outcome.caught_by
    seconds = time.monotonic() - began
    print(f"{len(bugs) - missed} of {len(bugs)} bugs are caught ({seconds:.0f} s)")
    return int(missed > 0)
