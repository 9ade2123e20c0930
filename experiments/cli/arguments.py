"""The arguments of bin/train, bin/bench and bin/sample."""

import argparse
import datetime
import difflib
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from experiments.cli.messages import CODES, REPO, UsageError, nearest, printable

MAX_SEED = 2**31 - 1  # the largest that NumPy, TensorFlow and Stan all take


class _Parser(argparse.ArgumentParser):
    """Raises UsageError, with one line, instead of printing the usage."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs["epilog"] = "exit codes:\n" + CODES
        kwargs["formatter_class"] = argparse.RawDescriptionHelpFormatter
        super().__init__(allow_abbrev=False, **kwargs)

    def parse_args(self, argv: Sequence[str]) -> argparse.Namespace:  # type: ignore[override]
        for argument in argv:
            if printable(argument) != argument:
                raise UsageError(f"{printable(argument)}: not UTF-8")
        options, unknown = self.parse_known_args(argv)
        if unknown:
            flag = unknown[0].partition("=")[0]
            known = [name for name in self._option_string_actions if name != "-h"]
            raise UsageError(f"unknown argument {unknown[0]!r}{nearest(flag, known)}")
        return options

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"given {text!r}, wanted a whole number"
        ) from error


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"given {text!r}, wanted a number") from error


# The parameters of `experiments.sample.nuts.sample` that bin/sample has as flags.
SAMPLE_FLAGS: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "data": (str, "FILE", "JSON, npz or CSV: values by name"),
    "num_chains": (_whole, "N", "default: 4"),
    "num_warmup": (_whole, "N", "draws of each chain for adaptation; default: 1000"),
    "num_draws": (_whole, "N", "draws of each chain that are kept; default: 1000"),
    "target_accept": (_number, "P", "mean acceptance; default: 0.8"),
    "metric": (str, "METRIC", "diagonal (default), dense, gradient; see your_model.md"),
    "step_size": (_number, "STEP", "where adaptation begins; without warm-up, to use"),
    "max_depth": (_whole, "N", "doublings of a trajectory at most; default: 10"),
    "dtype": (str, "DTYPE", "float64 (default) or float32"),
    "init": (str, "FILE", "where chains start: values by name, as in --data"),
    "chunk_size": (_whole, "N", "draws between two saves; default: 100"),
}


def parser(program: str) -> _Parser:
    """What parses the arguments of bin/`program`; it raises UsageError for mistakes."""
    if program == "sample":
        return _sample_parser()
    what = {"train": "Runs one experiment.", "bench": "Runs one comparison."}[program]
    parser = _Parser(prog=f"bin/{program}", description=what)
    add = parser.add_argument
    listed = functools.partial(add, action="append", default=[])
    what = "a gin file; may be given again, and later ones win"
    listed("--gin_config", "--gin_file", metavar="FILE", help=what)
    what = "one gin binding; may be given again"
    listed("--gin_param", metavar="NAME=VALUE", help=what)
    add("--list", action="store_true", help="list the configs and what each takes")
    add("--markdown", action="store_true", help="the list as docs/configs.md has it")
    _add_run(parser, workdir="runs/CONFIG-TIME", seed="wins over the config")
    if program == "train":
        either = parser.add_mutually_exclusive_group()
        for mode, what in (("evaluate", "evaluate it"), ("sample", "sample from it")):
            either.add_argument(
                f"--{mode}_only",
                f"--{mode}",
                dest="mode",
                action="store_const",
                const=mode,
                help=f"do not train the model of --init_from, {what}",
            )
        what = "a run folder or checkpoint with weights"
        add("--init_from", metavar="RUN", help=what)
        _add_processes(parser)
    return parser


def _sample_parser() -> _Parser:
    what = "Samples the posterior of a program of yours by NUTS, and judges the draws."
    parser = _Parser(prog="bin/sample", description=what)
    what = "models.py:eight_schools, say: a file, and a function in it"
    parser.add_argument("program", metavar="FILE.py:FUNCTION", help=what)
    add_sample_flags(parser)
    _add_run(parser, workdir="runs/FUNCTION-TIME", seed="default: 0")
    return parser


def plain_parser(program: str, what: str) -> _Parser:
    """A parser of bin/`program` without flags; it raises UsageError for mistakes."""
    return _Parser(prog=f"bin/{program}", description=what)


def add_sample_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of bin/sample that say what is sampled, and how."""
    for name, (convert, metavar, what) in SAMPLE_FLAGS.items():
        parser.add_argument(f"--{name}", metavar=metavar, type=convert, help=what)


def _add_run(parser: _Parser, *, workdir: str, seed: str) -> None:
    """The flags of every run: where it is, and how."""
    add = parser.add_argument
    add("--workdir", metavar="DIR", type=_workdir, help=f"default: {workdir}")
    add("--seed", metavar="INT", type=_seed, help=f"{seed}; -1 draws one")
    add("--dry_run", action="store_true", help="check everything, print the config")
    add("--overwrite", action="store_true", help="replace the run in --workdir")
    add("--resume", action="store_true", help="continue the run in --workdir, if any")


def sample_bindings(options: argparse.Namespace) -> dict[str, str]:
    """The gin binding of each argument of bin/sample that was given, by its flag."""
    given = {name: getattr(options, name) for name in SAMPLE_FLAGS}
    bindings = {
        f"--{name}": f"nuts.sample.{name}={value!r}"
        for name, value in given.items()
        if value is not None
    }
    return {"program": f"nuts.sample.program={options.program!r}", **bindings}


def _add_processes(parser: _Parser) -> None:
    add = parser.add_argument_group("several processes (docs/clusters.md)").add_argument
    what = "processes of this run; started here unless a scheduler starts them"
    add("--num_processes", metavar="N", type=_count(1), help=what)
    what = "which of them this is, from 0"
    add("--process_index", metavar="INT", type=_count(0), help=what)
    what = "where each listens, by index; or one with {index} in it"
    add("--process_addresses", metavar="HOST:PORT,...", help=what)
    what = "how long each waits for the others"
    add("--join_seconds", metavar="SECONDS", type=_count(1), help=what)
    what = "how often all processes started here restart when one dies; default: 3"
    add("--max_restarts", metavar="N", type=_count(0), default=3, help=what)


def _count(least: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            wanted = f"wanted a whole number of at least {least}"
            raise argparse.ArgumentTypeError(f"given {text!r}, {wanted}")
        return int(text)

    return count


def _workdir(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("none given, wanted a folder")
    path = os.path.abspath(text)
    if printable(path) != path:
        raise argparse.ArgumentTypeError(f"{printable(path)}: not UTF-8")
    return Path(path)


def _seed(text: str) -> int:
    try:
        seed = int(text)
    except ValueError:
        seed = -2
    if not -1 <= seed <= MAX_SEED:
        wanted = f"wanted 0 to {MAX_SEED}, or -1 to draw one"
        raise argparse.ArgumentTypeError(f"given {text!r}, {wanted}")
    return seed


def config_path(text: str) -> Path:
    """The gin file that `text` names.  Raises UsageError where there is none."""
    path = Path(text)
    if not text:
        raise UsageError("--gin_config: none given, wanted a gin file")
    if path.is_dir():
        raise UsageError(f"--gin_config: {text} is a folder, wanted a gin file")
    if not path.is_file():
        hint = nearest(text, [str(p) for p in path.parent.glob("*.gin")])
        if not hint:  # the name of a config here, from another working directory
            ours = {str(p.relative_to(REPO)): p for p in REPO.glob("configs/*/*.gin")}
            for name in difflib.get_close_matches(text, ours, n=1, cutoff=0.6):
                hint = f"; did you mean {os.path.relpath(ours[name])!r}?"
        raise UsageError(f"--gin_config: there is no file {text}{hint}")
    path = path.resolve()
    if printable(str(path)) != str(path):
        raise UsageError(f"--gin_config: {printable(str(path))}: not UTF-8")
    return path


def flag_bindings(options: argparse.Namespace) -> dict[str, str]:
    """The parameters of the experiment that flags bind, and their values.

    Raises UsageError for --evaluate_only and --sample_only without a model.
    """
    values = {name: getattr(options, name, None) for name in ("mode", "init_from")}
    if values["mode"] and not values["init_from"]:
        raise UsageError(f"--{values['mode']}_only: wanted --init_from=RUN beside it")
    if (place := values["init_from"]) is not None:
        if not Path(place).exists():
            raise UsageError(f"--init_from: there is no {place}")
        folder = options.workdir
        if (
            options.overwrite
            and folder
            and Path(place).resolve().is_relative_to(folder)
        ):
            raise UsageError(f"--init_from: given {place}, which --overwrite removes")
    return {name: value for name, value in values.items() if value is not None}


def default_workdir(name: str) -> Path:
    """A new folder below runs/, named after this and the time."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = REPO / "runs" / f"{name}-{now}"
    for again in range(2, 100):
        if not folder.exists():
            break
        folder = folder.with_name(f"{name}-{now}-{again}")
    return folder
