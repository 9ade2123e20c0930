"""The command line: reads gin configs, refuses what is amiss, runs one experiment.

The only module that knows gin.  A config says `experiment = @nuts.sample` and may say
`seed = 3`; gin fills the arguments of that one function and of the objects given to it,
and the command line gives it `run_dir` and `seed`.  The process ends with one of these
codes:

   0  done
   1  the experiment failed: traceback on standard error and in run.json
   2  a mistake in the command line or a config; nothing ran and nothing was written
   3  the experiment ended, and its accuracy check did not pass (`run_dir.CheckFailed`)
  75  stopped by SIGINT or SIGTERM; run.json says interrupted.  A second signal ends the
      process at once, with 128 + the signal's number

Where --num_processes asks for several and nothing says which of them this is, this one
starts them all here and watches them (`cluster.supervisor`); its code is theirs.
"""

import argparse
import collections
import contextlib
import datetime
import difflib
import hashlib
import importlib
import inspect
import io
import os
import pkgutil
import re
import secrets
import signal
import sys
import threading
import time
import tokenize
import traceback
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import gin
from gin import config_parser

from experiments.cluster import processes, supervisor
from experiments.records import jsonlines, provenance, run_dir

REPO = Path(__file__).resolve().parents[2]
SUCCESS, FAILED, USAGE, INACCURATE, INTERRUPTED = 0, 1, 2, 3, 75
MAX_SEED = 2**31 - 1  # what NumPy, TensorFlow and Stan all take


class UsageError(Exception):
    """A mistake in the command line or a config: its text is all that is shown."""


class Stopped(BaseException):
    """The first SIGINT or SIGTERM, raised in the main thread wherever it is."""


def main(program: str, argv: Sequence[str] | None = None) -> int:
    """Runs bin/train or bin/bench, `program` saying which; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    with _signals_caught(program) as stop:
        try:
            return _main(program, argv, stop)
        except UsageError as error:
            _say(program, str(error))
            return USAGE
        except Stopped:
            _say(program, "stopped before anything ran")
            return INTERRUPTED
        except Exception:  # a module that the config names does not import
            traceback.print_exc()
            return FAILED


def _main(program: str, argv: list[str], stop: "_Stop") -> int:
    supervisor.follow()
    options = _run_parser(program).parse_args(argv)
    files = [_config_path(given) for given in options.gin_config]
    statements = read_statements(files, options.gin_param)
    named = options.workdir is not None
    folder = options.workdir if named else _default_workdir(files[0])
    place = _place(options)
    first = place is None or place.index == 0  # the others write nothing
    try:
        if first:
            run_dir.check(folder, overwrite=options.overwrite, resume=options.resume)
        seed = _resumed_seed(options) if options.resume else options.seed
        seed = check_config(statements, seed=seed, resume=options.resume)
        params = [*options.gin_param, f"seed={seed}"]
        config = parse_config(files, params, statements)
        if options.dry_run:
            print(config, end="")
            return SUCCESS
        if place is None:
            return _supervise(program, options, files, folder, seed=seed, stop=stop)
        os.environ.update(processes.to_environment(place))
        os.environ[processes.CONFIG_DIGEST] = hashlib.sha256(
            config.encode()
        ).hexdigest()
        if not first:
            return _run_beside(program, folder, stop, resume=options.resume)
        with run_dir.claim(
            folder, overwrite=options.overwrite, resume=options.resume
        ) as claimed:
            return _run(
                program,
                argv,
                claimed,
                config=config,
                seed=seed,
                resume=options.resume,
                stop=stop,
            )
    except run_dir.RunDirError as error:
        raise UsageError(str(error)) from error


def _resumed_seed(options: argparse.Namespace) -> int | None:
    """The seed of the run that is gone on with; the command line's where there is none.

    Raises UsageError where the two differ, and for flags that contradict --resume.
    """
    if options.workdir is None:
        raise UsageError("--resume: wanted --workdir, the folder of the run, beside it")
    if options.overwrite:
        raise UsageError("--resume keeps what --overwrite replaces, wanted one of them")
    held = run_dir.read_seed(options.workdir)
    if held is not None and options.seed not in (None, held):
        raise UsageError(f"--seed: given {options.seed}, the run to resume has {held}")
    return options.seed if held is None else held


def _run(
    program: str,
    argv: list[str],
    folder: Path,
    *,
    config: str,
    seed: int,
    resume: bool,
    stop: "_Stop",
) -> int:
    """Runs the experiment in its folder; whatever happens, run.json tells it."""
    told: dict[str, Any] = {
        "program": program,
        "status": "running",
        "seed": seed,
        "earlier_attempts": run_dir.num_attempts(folder),
        "started_at": run_dir.utc_now(),
        "finished_at": None,
        "exit_code": None,
        "reason": "",
        "traceback": None,
    }
    origin = provenance.collect(argv=[f"bin/{program}", *argv], config=config)
    origin["started_at"] = told["started_at"]
    try:
        run_dir.write_run(folder, **told)
        jsonlines.write_text(folder / "config.gin", config)
        text = jsonlines.dumps(origin, indent=2)
        jsonlines.write_text(folder / "provenance.json", text + "\n")
    except OSError as error:
        raise UsageError(f"{folder} cannot be written to: {error.strerror}") from error

    def finish(status: str, code: int, reason: str = "", trace: str = "") -> None:
        told.update(status=status, exit_code=code, finished_at=run_dir.utc_now())
        told.update(reason=provenance.scrub(reason))
        told.update(traceback=provenance.scrub(trace) or None)
        run_dir.write_run(folder, **told)

    stop.on_second = lambda: finish("interrupted", INTERRUPTED, "stopped twice")
    _say(program, f"seed {seed}, {_shown(folder)}")
    began = time.monotonic()
    status, code, reason, trace = "failed", FAILED, "", ""
    try:
        _meet()
        _launch(folder, resume=resume)
        stop.finishing = True
        status, code = "done", SUCCESS
    except BaseException as error:  # recorded, and told by the exit code
        stop.finishing = True
        reason = _reason(error)
        trace = traceback.format_exc()
        if isinstance(error, run_dir.CheckFailed):
            code, trace = INACCURATE, ""
        elif isinstance(error, _NotMet):
            trace = ""
    if stop.signum is not None:  # also where a library swallowed or wrapped Stopped
        status, code, trace = "interrupted", INTERRUPTED, ""
        reason = f"stopped by {signal.Signals(stop.signum).name}"
    try:
        jsonlines.write_text(folder / "operative.gin", _operative_config())
    finally:
        finish(status, code, reason, trace)
    if trace:
        print(trace, end="", file=sys.stderr)
    ended = f"{status} after {time.monotonic() - began:.1f} s, {_shown(folder)}"
    _say(program, f"{ended}: {reason}" if reason else ended)
    return code


# Several processes.


class _NotMet(Exception):
    """The processes did not come together; the text says which, and why."""


def _place(options: argparse.Namespace) -> processes.Process | None:
    """Which process this is; None for one that is to start several.

    Raises UsageError for settings that do not fit together, and for a port that is
    taken: nothing has been started yet.
    """
    if not hasattr(options, "num_processes"):
        return processes.SINGLE
    try:
        place = processes.resolve(
            os.environ,
            count=options.num_processes,
            index=options.process_index,
            addresses=options.process_addresses,
        )
        if place is not None:
            processes.check_port(place)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if options.join_seconds is not None:
        os.environ[processes.JOIN_SECONDS] = str(options.join_seconds)
    if place is not None and place.count > 1:
        if options.workdir is None:
            raise UsageError("--workdir: none given, wanted one that all processes see")
        if options.seed == -1:
            raise UsageError("--seed=-1: each process would draw its own")
    return place


def _meet() -> None:
    try:
        processes.connect()
    except (ValueError, TimeoutError) as error:
        raise _NotMet(str(error)) from error


def _run_beside(program: str, folder: Path, stop: "_Stop", *, resume: bool) -> int:
    """Runs the experiment in a process that is not the first: it writes no record."""
    try:
        _meet()
        _launch(folder, resume=resume)
        stop.finishing = True
        return SUCCESS
    except BaseException as error:
        stop.finishing = True
        if stop.signum is not None:
            return INTERRUPTED
        if isinstance(error, run_dir.CheckFailed):
            return INACCURATE
        if not isinstance(error, _NotMet):
            traceback.print_exc()
        _say(program, f"failed: {_reason(error)}")
        return FAILED


def _supervise(
    program: str,
    options: argparse.Namespace,
    files: Sequence[Path],
    folder: Path,
    *,
    seed: int,
    stop: "_Stop",
) -> int:
    """Starts the processes here, each with this command and its own place."""

    def command(resume: bool) -> list[str]:
        code = "import sys; from experiments.cli import main; sys.exit(main.main())"
        given = [f"--gin_config={file}" for file in files]
        given += [f"--gin_param={param}" for param in options.gin_param]
        given += [f"--workdir={folder}", f"--seed={seed}"]
        if options.resume or resume:
            given.append("--resume")
        elif options.overwrite:
            given.append("--overwrite")
        return [
            sys.executable,
            "-P",
            "-c",
            code.replace("main()", f"main({program!r})"),
            *given,
        ]

    stop.raises = False
    return supervisor.supervise(
        command,
        count=options.num_processes or int(os.environ[processes.COUNT]),
        folder=folder,
        max_restarts=options.max_restarts,
        final=(USAGE, INACCURATE),
        interrupted=INTERRUPTED,
        stop=stop,
        say=lambda text: _say(program, text),
    )


# The command line.


class _Parser(argparse.ArgumentParser):
    """Mistakes are one line that says what was meant."""

    def __init__(self, **kwargs: Any) -> None:
        codes = __doc__[__doc__.index("   0  done") :]
        kwargs["epilog"] = "exit codes:\n" + codes
        kwargs["formatter_class"] = argparse.RawDescriptionHelpFormatter
        super().__init__(allow_abbrev=False, **kwargs)

    def parse_args(self, argv: Sequence[str]) -> argparse.Namespace:  # type: ignore[override]
        options, unknown = self.parse_known_args(argv)
        if unknown:
            flag = unknown[0].partition("=")[0]
            known = [name for name in self._option_string_actions if name != "-h"]
            raise UsageError(f"unknown argument {unknown[0]!r}{_meant(flag, known)}")
        return options

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _run_parser(program: str) -> _Parser:
    what = {"train": "Runs one experiment.", "bench": "Runs one comparison."}[program]
    parser = _Parser(prog=f"bin/{program}", description=what)
    add = parser.add_argument
    add(
        "--gin_config",
        "--gin_file",
        metavar="FILE",
        action="append",
        required=True,
        help="a gin file; may be given again, and later ones win",
    )
    add(
        "--gin_param",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="one gin binding; may be given again",
    )
    add("--workdir", metavar="DIR", type=_workdir, help="default: runs/CONFIG-TIME")
    add("--seed", metavar="INT", type=_seed, help="wins over the config; -1 draws one")
    add("--dry_run", action="store_true", help="check, print the config, and end")
    add("--overwrite", action="store_true", help="replace the run in the run folder")
    add(
        "--resume",
        action="store_true",
        help="go on with the run in it, if there is one",
    )
    if program == "train":
        _add_processes(parser)
    return parser


def _add_processes(parser: _Parser) -> None:
    add = parser.add_argument_group("several processes (docs/clusters.md)").add_argument
    add(
        "--num_processes",
        metavar="N",
        type=_count(1),
        help="that train together; started here where no scheduler has",
    )
    add(
        "--process_index",
        metavar="INT",
        type=_count(0),
        help="which of them this is, from 0",
    )
    add(
        "--process_addresses",
        metavar="HOST:PORT,...",
        help="where each listens, by index; or one with {index} in it",
    )
    add(
        "--join_seconds",
        metavar="SECONDS",
        type=_count(1),
        help="how long each waits for the others",
    )
    add(
        "--max_restarts",
        metavar="N",
        type=_count(0),
        default=3,
        help="of all processes started here, when one dies; default: 3",
    )


def _count(least: int) -> Callable[[str], int]:
    def count(given: str) -> int:
        if not given.isdecimal() or int(given) < least:
            wanted = f"wanted a whole number of at least {least}"
            raise argparse.ArgumentTypeError(f"given {given!r}, {wanted}")
        return int(given)

    return count


def _workdir(given: str) -> Path:
    if not given:
        raise argparse.ArgumentTypeError("none given, wanted a folder")
    return Path(os.path.abspath(given))


def _seed(given: str) -> int:
    try:
        seed = int(given)
    except ValueError:
        seed = -2
    if not -1 <= seed <= MAX_SEED:
        wanted = f"wanted 0 to {MAX_SEED}, or -1 to draw one"
        raise argparse.ArgumentTypeError(f"given {given!r}, {wanted}")
    return seed


def _config_path(given: str) -> Path:
    path = Path(given)
    if not given:
        raise UsageError("--gin_config: none given, wanted a gin file")
    if path.is_dir():
        raise UsageError(f"--gin_config: {given} is a folder, wanted a gin file")
    if not path.is_file():
        near = [str(p) for p in path.parent.glob("*.gin")]
        hint = _meant(given, near)
        if not hint:  # the name of a config here, from another working directory
            ours = {str(p.relative_to(REPO)): p for p in REPO.glob("configs/*/*.gin")}
            for name in difflib.get_close_matches(given, ours, n=1, cutoff=0.6):
                hint = f"; did you mean {os.path.relpath(ours[name])!r}?"
        raise UsageError(f"--gin_config: there is no file {given}{hint}")
    return path.resolve()


def _default_workdir(config: Path) -> Path:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = REPO / "runs" / f"{config.stem}-{now}"
    for again in range(2, 100):
        if not folder.exists():
            break
        folder = folder.with_name(f"{config.stem}-{now}-{again}")
    return folder


def _meant(given: str, known: Iterable[str]) -> str:
    """A hint at the known name nearest to the one given; empty when none is near."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(given.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""


def _say(program: str, text: str) -> None:
    print(f"{program}: {text}", file=sys.stderr, flush=True)


def _shown(path: Path) -> str:
    """A path as a person in this working directory would type it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _reason(error: BaseException) -> str:
    """An exception in one line, without the trail that gin adds to it."""
    text = re.sub(r"\n  In call to configurable '.*", "", str(error)).strip()
    name = next(
        c.__name__ for c in type(error).__mro__ if c.__name__ != "ExceptionProxy"
    )
    return " ".join(f"{name}: {text}".split()) if text else name


# Signals.


class _Stop:
    """Which signal came, and what the second one does before the process ends."""

    signum: int | None = None
    finishing = False  # the record is being written: not the time to raise
    raises = True  # or is `signum` looked at instead
    on_second: Callable[[], None] | None = None


@contextlib.contextmanager
def _signals_caught(program: str) -> Iterator[_Stop]:
    """Raises Stopped at the first SIGINT or SIGTERM; the second ends the process.

    A thread hears both at once, for the main one may be inside a long TensorFlow call,
    where Python's own handlers wait.
    """
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(signum: int, _frame: types.FrameType | None) -> None:
        if stop.signum is None and not stop.finishing:
            stop.signum = signum
            if stop.raises:
                raise Stopped

    def listen() -> None:
        heard = 0
        while heard < 2:
            byte = os.read(ear, 1)
            if not byte:
                return
            heard += byte[0] in (signal.SIGINT, signal.SIGTERM)
            name = signal.Signals(byte[0]).name
            if heard == 1:
                _say(program, f"{name}: stopping; a second one ends it at once")
        if stop.on_second is not None and not stop.finishing:
            with contextlib.suppress(Exception):
                stop.on_second()
        os._exit(128 + byte[0])

    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    held = [signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)]
    wakeup = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(wakeup)
        for signum, handler in zip((signal.SIGINT, signal.SIGTERM), held, strict=True):
            signal.signal(signum, handler)
        os.close(mouth)
        listener.join()
        os.close(ear)


# The config, before gin sees it.  gin takes names that nothing reads, and of those that
# it refuses it does not say what was meant; so the statements are read here first.


class Reference(NamedTuple):
    """@scope/name, or @scope/name() when it is called."""

    name: str
    call: bool


class Macro(NamedTuple):
    """%name."""

    name: str


class Statement(NamedTuple):
    """One statement of one file or --gin_param, and where it stands."""

    where: str  # "configs/nuts/base.gin:12"
    file: str  # what shares its imports
    said: Any  # one of gin.config_parser's statements


class Binding(NamedTuple):
    """One parameter bound, its names resolved."""

    where: str
    name: (
        str  # "inference.SamplerSettings.num_results", scope and all, or a macro's name
    )
    value: Any
    refers_to: tuple[tuple[Reference | Macro, Any], ...]  # what the value names


Key = tuple[str, Any]  # scope, and the function or class that is bound there
Bindings = dict[Key, dict[str, list[Binding]]]  # by parameter; the last one holds
EXPERIMENT: Key = ("experiment", gin.config.macro)
SEED: Key = ("seed", gin.config.macro)


class Root(NamedTuple):
    """The function that `experiment` names, and the macros that lead to it."""

    scope: str
    target: Any
    macros: frozenset[Key]


class _Delegate(config_parser.ParserDelegate):  # type: ignore[misc]
    """Keeps references and macros as they are written."""

    def configurable_reference(self, name: str, evaluate: bool) -> Reference:
        return Reference(name, evaluate)

    def macro(self, name: str) -> Macro:
        return Macro(name)


COMMAND_LINE = "--gin_param"
REQUIRED = Macro("gin.REQUIRED")


def read_statements(files: Sequence[Path], params: Sequence[str]) -> list[Statement]:
    """Every statement of the files, their includes and the bindings, in gin's order.

    Imports nothing.  Raises UsageError for a file missing, unreadable, not gin or
    included by itself, and for a binding that is not one.
    """
    statements: list[Statement] = []
    for file in files:
        statements += _statements_of(file, included=())
    for param in params:
        where = f"{COMMAND_LINE}={param}"
        said = list(_parsed(param, where, path=None))
        if len(said) != 1 or not isinstance(said[0][1], config_parser.BindingStatement):
            raise UsageError(f"{where}: wanted one binding, NAME=VALUE")
        statements.append(Statement(where, COMMAND_LINE, said[0][1]))
    return statements


def _statements_of(path: Path, *, included: tuple[Path, ...]) -> Iterator[Statement]:
    shown = _shown(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"{shown} cannot be read: {why}") from error
    for line, said in _parsed(text, shown, path=path):
        where = f"{shown}:{line}"
        if not isinstance(said, config_parser.IncludeStatement):
            yield Statement(where, shown, said)
            continue
        wanted = (REPO / said.filename).resolve()  # where gin will look, too
        if not wanted.is_file():
            known = [str(p.relative_to(REPO)) for p in REPO.glob("configs/**/*.gin")]
            hint = _meant(said.filename, known)
            raise UsageError(
                f"{where}: include {said.filename!r}: there is no such file "
                f"(paths start at the repository){hint}"
            )
        if wanted in (*included, path):
            raise UsageError(f"{where}: include {said.filename!r} comes back to itself")
        yield from _statements_of(wanted, included=(*included, path))


def _parsed(text: str, shown: str, *, path: Path | None) -> Iterator[tuple[int, Any]]:
    def wrong(line: int | None, what: str) -> UsageError:
        at = f"{shown}:{line}" if path and line else shown
        return UsageError(f"{at}: not gin: {' '.join(what.split())}")

    try:
        for said in config_parser.ConfigParser(io.StringIO(text), _Delegate()):
            yield said.location.line_num, said
    except SyntaxError as error:
        quoted = f" in {error.text.strip()!r}" if path and error.text else ""
        raise wrong(error.lineno, f"{error.msg}{quoted}") from error
    except tokenize.TokenError as error:
        raise wrong(error.args[1][0], str(error.args[0])) from error
    except (ValueError, StopIteration, RuntimeError) as error:
        raise wrong(None, str(error) or "it ends too early") from error


def check_config(
    statements: Sequence[Statement], *, seed: int | None, resume: bool = False
) -> int:
    """The run's seed, once every name in the config is known to exist and to be read.

    Imports what the configs import.  seed: the command line's, which wins; None if it
    gave none.  Raises UsageError, with file and line, for a name that is unknown or
    that nothing reads, for a value required and not given, and for a bad seed; and for
    an experiment that cannot `resume` where that is asked for.
    """
    bindings = _resolve_all(statements)
    root = _root(bindings)
    used = _walk(bindings, root)
    if resume and "resume" not in (_parameters(root.target) or ()):
        name = f"{root.target.__module__}.{root.target.__qualname__}"
        raise UsageError(f"--resume: {name} cannot go on with a run")
    for key, parameters in bindings.items():
        if key not in used:
            raise UsageError(
                _unread(next(iter(parameters.values()))[-1], key, bindings)
            )
    said = bindings.get(SEED, {}).get("value", [])
    value = said[-1].value if seed is None and said else seed or 0
    if type(value) is not int or not -1 <= value <= MAX_SEED:
        wanted = f"an integer from 0 to {MAX_SEED}, or -1 to draw one"
        raise UsageError(f"{said[-1].where}: seed: given {value!r}, wanted {wanted}")
    return secrets.randbelow(MAX_SEED + 1) if value == -1 else value


def _resolve_all(statements: Sequence[Statement]) -> Bindings:
    """Every binding under the function or class that it is for."""
    symbols = _import_all(statements)
    bindings: Bindings = collections.defaultdict(lambda: collections.defaultdict(list))
    for where, file, said in statements:
        visible = symbols[file]
        if isinstance(said, config_parser.BlockDeclaration):
            _resolve(said.selector, visible, where)
        if not isinstance(said, config_parser.BindingStatement):
            continue
        refers_to = tuple(
            (named, _target(named, visible, where)) for named in _named(said.value)
        )
        scoped = f"{said.scope}/{said.selector}" if said.scope else said.selector
        if not said.arg_name:  # NAME = value
            key, parameter, name = (scoped, gin.config.macro), "value", scoped
        else:
            target = _resolve(said.selector, visible, where)
            key, parameter, name = (said.scope, target), said.arg_name, scoped
            name = f"{scoped}.{parameter}"
            known = _parameters(target)
            if known is not None and parameter not in known:
                hint = _meant(parameter, known)
                raise UsageError(
                    f"{where}: {said.selector} has no parameter {parameter!r}{hint}"
                )
        bound = Binding(where, name, said.value, refers_to)
        bindings[key][parameter].append(bound)
    return bindings


def _import_all(statements: Sequence[Statement]) -> dict[str, dict[str, Any]]:
    """What each file's imports make visible in it; on the command line, all of it."""
    symbols: dict[str, dict[str, Any]] = collections.defaultdict(dict)
    dynamic: set[str] = set()
    for where, file, said in statements:
        if not isinstance(said, config_parser.ImportStatement):
            bound = isinstance(said, config_parser.BindingStatement) and said.arg_name
            if bound and file not in dynamic and file != COMMAND_LINE:
                wanted = "from __gin__ import dynamic_registration"
                raise UsageError(f"{where}: wanted `{wanted}` before the first binding")
            continue
        if said.module == "__gin__.dynamic_registration":
            dynamic.add(file)
            continue
        if said.module.startswith("__gin__."):
            hint = _meant(said.bound_name(), ["dynamic_registration"])
            raise UsageError(f"{where}: gin has no {said.bound_name()!r}{hint}")
        module = _import(said.module, where)
        if not said.is_from and not said.alias:
            module = sys.modules[said.module.partition(".")[0]]
        symbols[file][said.bound_name()] = module
    for visible in list(symbols.values()):
        symbols[COMMAND_LINE].update(visible)
    for file in [*symbols, *dynamic, *(s.file for s in statements)]:
        symbols[file]["gin"] = types.SimpleNamespace(singleton=gin.config.singleton)
    return symbols


def _import(module: str, where: str) -> types.ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not f"{module}.".startswith(f"{missing}.") or not missing:
            raise  # the module is there; what it imports is not
        parent, _, name = missing.rpartition(".")
        paths = importlib.import_module(parent).__path__ if parent else [str(REPO)]
        known = [found.name for found in pkgutil.iter_modules(paths)]
        hint = _meant(name, known)
        raise UsageError(f"{where}: there is no module {missing!r}{hint}") from error


def _named(value: Any) -> Iterator[Reference | Macro]:
    """The references and macros anywhere in a value."""
    if isinstance(value, (Reference, Macro)):
        yield value
    elif isinstance(value, dict):
        for key, held in value.items():
            yield from _named(key)
            yield from _named(held)
    elif isinstance(value, (list, tuple)):
        for held in value:
            yield from _named(held)


def _target(named: Reference | Macro, visible: dict[str, Any], where: str) -> Any:
    if isinstance(named, Macro):
        return gin.config.macro
    return _resolve(named.name.rpartition("/")[2], visible, where)


def _resolve(selector: str, visible: dict[str, Any], where: str) -> Any:
    """The function or class that a dotted name stands for in a file."""
    head, *rest = selector.split(".")
    if head not in visible:
        inside = [n for n, module in visible.items() if hasattr(module, head)]
        hint = f"; did you mean '{inside[0]}.{selector}'?" if inside else ""
        hint = hint or _meant(head, visible.keys() - {"gin"})
        raise UsageError(f"{where}: {selector}: no import provides {head!r}{hint}")
    value, path = visible[head], head
    for name in rest:
        if not hasattr(value, name):
            hint = _meant(name, [n for n in dir(value) if not n.startswith("_")])
            raise UsageError(f"{where}: {path} has no {name!r}{hint}")
        value, path = getattr(value, name), f"{path}.{name}"
    if not callable(value):
        kind = type(value).__name__
        raise UsageError(f"{where}: {selector} is a {kind}, wanted a function or class")
    return value


def _signature(target: Any) -> dict[str, inspect.Parameter] | None:
    try:
        return dict(inspect.signature(target).parameters)
    except ValueError:  # some builtins tell nothing
        return None


def _parameters(target: Any) -> list[str] | None:
    """The names that may be bound; None when any may."""
    signature = _signature(target)
    if signature is None:
        return None
    kinds = {parameter.kind for parameter in signature.values()}
    if inspect.Parameter.VAR_KEYWORD in kinds:
        return None
    unnamed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
    return [name for name, held in signature.items() if held.kind not in unnamed]


def _prefixes(scope: str) -> list[str]:
    """The scopes whose bindings hold in `scope`: "a/b" has "", "a" and "a/b"."""
    parts = scope.split("/") if scope else []
    return ["/".join(parts[:end]) for end in range(len(parts) + 1)]


def _effective(bindings: Bindings, scope: str, target: Any) -> dict[str, Binding]:
    """What gin gives a function called in a scope: the last of the innermost scope."""
    values: dict[str, Binding] = {}
    for prefix in _prefixes(scope):
        held = bindings.get((prefix, target), {})
        values |= {parameter: bound[-1] for parameter, bound in held.items()}
    return values


def _walk(bindings: Bindings, root: Root) -> set[Key]:
    """The keys of `bindings` that a run reads.

    Follows references from `experiment`.  A macro also counts as read where a
    later binding replaced the one that reads it: an override must not make its base an
    error.
    """
    used = {key for key in bindings if key in root.macros or key == SEED}
    seen: set[tuple[str, Any, bool]] = set()
    queue: list[tuple[str, Any, bool]] = [(root.scope, root.target, True)]
    while queue:
        place = queue.pop()
        if place in seen:
            continue
        seen.add(place)
        scope, target, called = place
        used |= {(p, target) for p in _prefixes(scope) if (p, target) in bindings}
        effective = _effective(bindings, scope, target)
        given = _GIVEN if target is root.target else ()
        _check_call(target, effective, given=given, called=called)
        for prefix in _prefixes(scope):
            for bound in bindings.get((prefix, target), {}).values():
                for binding in bound:
                    queue += _follow(binding, scope, binding is bound[-1], bindings)
    return used


_GIVEN = ("run_dir", "seed", "resume")  # to the experiment, by the command line


def _follow(
    binding: Binding, scope: str, holds: bool, bindings: Bindings
) -> Iterator[tuple[str, Any, bool]]:
    """The places that a binding's value leads to."""
    for named, target in binding.refers_to:
        if isinstance(named, Reference):
            inner = named.name.rpartition("/")[0] or scope
            if holds:
                yield inner, target, named.call
            continue
        if named == REQUIRED:
            continue
        if holds and not _effective(bindings, named.name, gin.config.macro):
            macros = [s for s, target in bindings if target is gin.config.macro]
            hint = _meant(named.name, macros)
            raise UsageError(f"{binding.where}: no macro {named.name!r} is set{hint}")
        yield named.name, target, True


def _root(bindings: Bindings) -> Root:
    """The experiment's own function.  Raises UsageError when it is not one."""
    name, macros = EXPERIMENT[0], set[Key]()
    while True:
        key = (name, gin.config.macro)
        macros.add(key)
        bound = bindings.get(key, {}).get("value", [None])[-1]
        if bound is None:
            wanted = "wanted a line such as experiment = @nuts.sample"
            raise UsageError(f"the config says no `experiment`, {wanted}")
        following = isinstance(bound.value, Macro) and bound.value != REQUIRED
        if not following or (bound.value.name, gin.config.macro) in macros:
            break
        name = bound.value.name
    if not isinstance(bound.value, Reference) or bound.value.call:
        wanted = "@ and a function's name, without parentheses"
        raise UsageError(f"{bound.where}: experiment: wanted {wanted}")
    target = bound.refers_to[0][1]
    known = _parameters(target)
    for name in ("run_dir", "seed"):
        if known is not None and name not in known:
            shown = bound.value.name
            raise UsageError(f"{bound.where}: @{shown} does not take {name!r}")
    return Root(bound.value.name.rpartition("/")[0], target, frozenset(macros))


def _check_call(
    target: Any, effective: dict[str, Binding], *, given: Sequence[str], called: bool
) -> None:
    """Raises UsageError when the call would lack a value, or ignore one."""
    for name, binding in effective.items():
        if name in given:
            what = f"{binding.where}: {binding.name} is never read"
            raise UsageError(f"{what}: the launcher gives it, see {_flag(name)}")
        if REQUIRED in _named(binding.value):
            raise UsageError(
                f"{binding.where}: {binding.name} is %gin.REQUIRED; give it a value, "
                f"such as --gin_param={binding.name}=..."
            )
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for name, parameter in (_signature(target) or {}).items() if called else ():
        lacks = parameter.default is parameter.empty and parameter.kind not in variadic
        if lacks and name not in effective and name not in given:
            shown = f"{target.__module__}.{target.__qualname__}"
            raise UsageError(f"{shown} needs {name!r}, and no config binds it")


def _flag(parameter: str) -> str:
    return "--workdir" if parameter == "run_dir" else f"--{parameter}"


def _unread(binding: Binding, key: Key, bindings: Bindings) -> str:
    scope, target = key
    text = f"{binding.where}: nothing reads {binding.name}"
    if target is gin.config.macro:
        if binding.name in _GIVEN:
            return f"{text}: the launcher gives it, see {_flag(binding.name)}"
        said = (bound for held in bindings.values() for bound in held.values())
        named = {
            reference.name
            for binding in (binding for bound in said for binding in bound)
            for reference, _ in binding.refers_to
            if isinstance(reference, Macro) and reference != REQUIRED
        }
        return text + _meant(binding.name, {*named, EXPERIMENT[0], SEED[0]})
    if scope:
        return f"{text}: the experiment refers to nothing in the scope {scope!r}"
    return f"{text}: the experiment is given nothing made by it"


# gin itself.


def parse_config(
    files: Sequence[Path], params: Sequence[str], statements: Sequence[Statement]
) -> str:
    """Lets gin read the files and bindings, locks the result, and returns it as text.

    The text is itself a config, sorted and with its includes in place.
    """
    imports = {
        s.said.format(): None
        for s in statements
        if isinstance(s.said, config_parser.ImportStatement)
    }
    # gin keeps imports file by file; on the command line every one of them is seen.
    head = ["from __gin__ import dynamic_registration"]
    head += [line for line in imports if line != head[0]]
    try:
        with contextlib.chdir(REPO):  # `include` paths start at the repository
            gin.parse_config_files_and_bindings(
                [str(file) for file in files], [*head, *params]
            )
    except Exception as error:
        raise UsageError(f"gin: {_reason(error)}") from error
    return str(gin.config_str())


def _launch(run_dir: Path, *, resume: bool) -> object:
    """Calls the function that `experiment` names, and returns what it returns."""
    experiment, seed = _macro(EXPERIMENT[0]), _macro(SEED[0])
    more = {"resume": resume} if "resume" in (_parameters(experiment) or ()) else {}
    return experiment(run_dir=run_dir, seed=seed, **more)


def _macro(name: str) -> Any:
    with gin.config_scope(name):
        return gin.get_configurable(gin.config.macro)()


def _operative_config() -> str:
    """What the run read, defaults included, as far as gin can write it."""
    try:
        return str(gin.operative_config_str())
    except Exception as error:  # a record of the run must not fail for this
        return f"# gin could not write it: {_reason(error)}\n"
