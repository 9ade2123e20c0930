"""A run that is killed at its n-th write, say, as a machine that dies would do it."""

import importlib
import itertools
import os
import signal
import tempfile
from pathlib import Path

from tests import programs

# What happens when: module, function, and whether the function still runs.
MOMENTS = {
    "before it compiles": ("experiments.inference.sampling.compile_kernel", False),
    "while it computes": ("experiments.inference.tile_run.TileRun.advance", False),
    "after it computed": ("experiments.inference.tile_run.TileRun.advance", True),
    "before a file": ("numpy.savez", False),
    "within a file": ("os.fsync", False),
    "before a rename": ("pathlib.Path.replace", False),
    "after a rename": ("pathlib.Path.replace", True),
    "before it tells": ("experiments.sample.kept.Kept.add", False),
}


def killed_at(command, moment, number):
    """The exit code of a command that is killed at a moment's n-th occurrence."""
    return _forked(command, moment, number, seconds=300)


def killed_after(command, seconds):
    """The exit code of a command that is killed after a time."""
    return _forked(command, None, 0, seconds=seconds)


def _forked(command, moment, number, *, seconds):
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = programs.forks().Process(
            target=_run, args=(command, moment, number, out, err)
        )
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
        return process.exitcode


def _run(command, moment, number, out, err):
    if moment is not None:
        place, still_runs = MOMENTS[moment]
        owner, _, name = place.rpartition(".")
        _die_at(_found(owner), name, number, still_runs)
    programs.run_here(command, out, err)


def _found(place):
    """The module or class of that name."""
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError:
        module, _, name = place.rpartition(".")
        return getattr(importlib.import_module(module), name)


def _die_at(owner, name, number, still_runs):
    calls, function = itertools.count(), getattr(owner, name)

    def call(*args, **kwargs):
        dies = next(calls) == number
        if dies and still_runs:
            function(*args, **kwargs)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    setattr(owner, name, call)
