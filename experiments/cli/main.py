"""The command line: reads gin configs, refuses what is wrong, runs one experiment.

A config says `experiment = @nuts.sample` and may say `seed = 3`.  gin fills the
arguments of that one function and of the objects given to it; the command line gives it
`run_dir` and `seed`, and where it has such parameters `resume`, and `mode` and
`init_from` from --evaluate_only, --sample_only and --init_from.  A function with a
parameter `dry_run` is called with True first: it raises ValueError for arguments that
do not fit, and writes nothing.

Where --num_processes asks for several and nothing says which of them this is, this
process starts them all and watches them (`cluster.supervisor`), and ends with their
exit code.
"""

import argparse
import contextlib
import hashlib
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from experiments.cli import arguments, config_list, gin_check, gin_values, signals
from experiments.cli.messages import (
    FAILED,
    INACCURATE,
    INTERRUPTED,
    REPO,
    SUCCESS,
    USAGE,
    UsageError,
    is_full_disk,
    raised_by_us,
    reason,
    say,
    shown,
)
from experiments.cli.startup_log import start_up_log_filtered
from experiments.cli.statements import COMMAND_LINE, read_statements
from experiments.cluster import processes, supervisor
from experiments.records import jsonlines, provenance, run_dir


class Job(NamedTuple):
    """One command, checked: what runs, with which arguments, and where."""

    program: str
    argv: list[str]
    options: argparse.Namespace
    folder: Path
    config: str
    checked: gin_check.Checked
    stop: signals.Stop
    values: dict[str, Any]

    def call(self, *, dry_run: bool = False) -> object:
        """Calls the experiment.  dry_run: only for it to check its arguments."""
        return gin_values.call(
            self.checked,
            self.values,
            run_dir=self.folder,
            dry_run=dry_run,
            resume=self.options.resume,
        )


def main(program: str, argv: Sequence[str] | None = None) -> int:
    """Runs bin/train, bin/bench or bin/sample, as `program` says; returns the code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    with signals.signals_caught(program) as stop:
        try:
            signals.unblock()
            return _main(program, argv, stop)
        except (UsageError, run_dir.RunDirError) as error:
            say(program, str(error))
            return USAGE
        except signals.Stopped:
            say(program, "stopped before anything ran")
            return INTERRUPTED
        except Exception:  # a module that the config names does not import
            traceback.print_exc()
            return FAILED


def run(program: str, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs `main` as all of a process, which ends with its code.

    An interrupted one does not wait for threads, such as those of a compiler.
    """
    code = main(program, argv)
    if code == INTERRUPTED:
        signals.leave_what_still_works(code)
    sys.exit(code)


def _main(program: str, argv: list[str], stop: signals.Stop) -> int:
    supervisor.follow()
    options = arguments.parser(program).parse_args(argv)
    if program == "sample":
        return _sample(argv, options, stop)
    if options.list:
        _print_list(markdown=options.markdown)
        return SUCCESS
    if not options.gin_config:
        raise UsageError("--gin_config: none given, wanted a gin file; see --list")
    return _configured(program, argv, options, stop)


def _sample(argv: list[str], options: argparse.Namespace, stop: signals.Stop) -> int:
    """Runs bin/sample: a config and bindings that its user does not see."""
    bindings = arguments.sample_bindings(options)
    options.gin_config = [str(REPO / "configs/nuts/program.gin")]
    options.gin_param = [*bindings.values()]
    options.name = options.program.rpartition(":")[2]
    try:
        return _configured("sample", argv, options, stop)
    except UsageError as error:
        text = str(error)
        for flag, binding in bindings.items():
            name = binding.partition("=")[0]
            for own in (f"{flag}: ", ""):
                text = text.replace(
                    f"{COMMAND_LINE}={binding}: {name}: {own}", f"{flag}: "
                )
        raise UsageError(text) from error


def _configured(
    program: str, argv: list[str], options: argparse.Namespace, stop: signals.Stop
) -> int:
    """Checks the config and runs it."""
    files = [arguments.config_path(text) for text in options.gin_config]
    statements = read_statements(files, options.gin_param)
    folder = options.workdir or arguments.default_workdir(
        getattr(options, "name", files[0].stem)
    )
    process = _process(options)
    first = process is None or process.index == 0  # the others write nothing
    if first:
        run_dir.check(folder, overwrite=options.overwrite, resume=options.resume)
    seed = _resumed_seed(options) if options.resume else options.seed
    with start_up_log_filtered():
        checked = gin_check.check_config(statements, seed=seed)
        params = [*options.gin_param, f"seed={checked.seed}"]
        params += _flag_params(options, checked)
        config = gin_values.parse_config(files, params, statements, checked)
        os.environ.update(processes.to_environment(process or _stand_in(options)))
        values = gin_values.construct(checked)
    job = Job(program, argv, options, folder, config, checked, stop, values)
    if "dry_run" in (gin_check.parameters_of(checked.root) or ()):
        _refuse_mistakes(job)
    if options.dry_run:
        print(config, end="")
        return SUCCESS
    alone = process is None or process.count == 1
    if options.resume and alone and (code := _finished(job)) is not None:
        say(program, f"{shown(folder)} is finished: nothing to continue")
        return code
    if process is None:
        return _supervise(job, files)
    os.environ[processes.CONFIG_DIGEST] = hashlib.sha256(config.encode()).hexdigest()
    if not first:
        return _run_beside(job)
    with run_dir.claim(folder, overwrite=options.overwrite, resume=options.resume):
        return _run(job)


def _print_list(*, markdown: bool) -> None:
    try:
        print(config_list.markdown() if markdown else config_list.text(), flush=True)
    except BrokenPipeError:  # a reader such as `head` has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse_mistakes(job: Job) -> None:
    """Has the experiment check its arguments; raises UsageError for what it refuses."""
    try:
        job.call(dry_run=True)
    except Exception as error:
        if not raised_by_us(error):
            raise
        raise UsageError(gin_values.mistake(error, job.checked)) from error


def _resumed_seed(options: argparse.Namespace) -> int | None:
    """The seed of the run in --workdir; the command line's where there is none.

    Raises UsageError where the two differ, and for flags that contradict --resume.
    """
    if options.workdir is None:
        raise UsageError("--resume: wanted --workdir, the folder of the run, beside it")
    if options.overwrite:
        raise UsageError("--resume keeps what --overwrite replaces, wanted one of them")
    seed = run_dir.read_seed(options.workdir)
    if seed is not None and options.seed not in (None, seed):
        raise UsageError(f"--seed: given {options.seed}, the run to resume has {seed}")
    return options.seed if seed is None else seed


def _flag_params(
    options: argparse.Namespace, checked: gin_check.Checked
) -> Iterator[str]:
    """The bindings that flags stand for.

    Raises UsageError for a flag that the experiment has no parameter for.
    """
    takes = gin_check.parameters_of(checked.root)
    name = f"{checked.root.__module__}.{checked.root.__qualname__}"
    if options.resume and "resume" not in (takes or ()):
        raise UsageError(
            f"--resume: given {name}, wanted an experiment that can be resumed"
        )
    for parameter, value in arguments.flag_bindings(options).items():
        if takes is not None and parameter not in takes:
            flag = f"{value}_only" if parameter == "mode" else parameter
            raise UsageError(f"--{flag}: {name} has no parameter {parameter!r}")
        yield f"{checked.selector}.{parameter} = {value!r}"


def _run(job: Job) -> int:
    """Runs the experiment in its claimed folder; run.json says how it went."""
    folder, program, stop = job.folder, job.program, job.stop
    record: dict[str, Any] = {
        "program": program,
        "status": "running",
        "seed": job.checked.seed,
        "earlier_attempts": run_dir.num_attempts(folder),
        "changed_settings": _say_what_changed(job),
        "started_at": run_dir.utc_now(),
        "finished_at": None,
        "exit_code": None,
        "reason": "",
        "traceback": None,
    }
    try:
        run_dir.write_run(folder, **record)
        argv = [f"bin/{program}", *job.argv]
        origin = provenance.collect(argv=argv, config=job.config)
        origin["started_at"] = record["started_at"]
        jsonlines.write_text(folder / "config.gin", job.config)
        text = jsonlines.dumps(origin, indent=2)
        jsonlines.write_text(folder / "provenance.json", text + "\n")
    except OSError as error:
        raise UsageError(f"{folder} cannot be written to: {error.strerror}") from error

    def finish(status: str, code: int, why: str = "", trace: str = "") -> None:
        record.update(status=status, exit_code=code, finished_at=run_dir.utc_now())
        record.update(reason=provenance.scrub(why))
        record.update(traceback=provenance.scrub(trace) or None)
        run_dir.write_run(folder, **record)

    stop.on_second = lambda: finish("interrupted", INTERRUPTED, "stopped twice")
    say(program, f"seed {job.checked.seed}, {shown(folder)}")
    started = time.monotonic()
    error = _call(job)
    code, why, trace = _exit_code(job, error), "", ""
    command = _resume_command(job)
    goes_on = f"; to continue: {command}" if command else ""
    if code == INTERRUPTED:
        why = f"stopped by {signal.Signals(stop.signum).name}{goes_on}"
    elif error is not None:
        why = reason(error)
        refused = isinstance(error, ValueError) and raised_by_us(error)
        if refused and run_dir.withdraw(folder):
            raise UsageError(gin_values.mistake(error, job.checked)) from error
        is_known = isinstance(error, _NotConnected)
        if is_full_disk(error):
            is_known, why = True, why + goes_on
        if code == FAILED and not is_known:
            trace = "".join(traceback.format_exception(error))
    status = {SUCCESS: "done", INTERRUPTED: "interrupted"}.get(code, "failed")
    try:
        operative = gin_values.operative_config(job.checked)
        with contextlib.suppress(OSError):  # a full disk, which `error` tells of
            jsonlines.write_text(folder / "operative.gin", operative)
    finally:
        finish(status, code, why, trace)
    if trace and not raised_by_us(error):
        print(trace, end="", file=sys.stderr)
    end = "finished" if code == INACCURATE else status
    ended = f"{end} after {time.monotonic() - started:.1f} s, {shown(folder)}"
    why = getattr(error, "brief", "") or why
    say(program, f"{ended}: {why}" if why else ended)
    return code


def _call(job: Job) -> BaseException | None:
    """Calls the experiment; returns what ended it, None if it came to its end."""
    try:
        try:
            processes.connect()
        except (ValueError, TimeoutError) as error:
            raise _NotConnected(str(error)) from error
        job.call()
    except BaseException as error:  # recorded, and reported by the exit code
        job.stop.finishing = True
        return error
    job.stop.finishing = True
    return None


def _exit_code(job: Job, error: BaseException | None) -> int:
    if job.stop.signum is not None:  # also where a library swallowed or wrapped Stopped
        return INTERRUPTED
    if error is None:
        return SUCCESS
    return INACCURATE if isinstance(error, run_dir.CheckFailed) else FAILED


def _say_what_changed(job: Job) -> str:
    """Prints and returns the settings that differ from the run's that is continued."""
    try:
        before = (job.folder / "config.gin").read_text()
    except OSError:
        return ""
    text = gin_values.changed(before, job.config) if before else ""
    if text:
        say(job.program, f"other settings than the run had so far: {text}")
    return text


def _resume_command(job: Job) -> str:
    """What continues the run; empty where nothing does."""
    if "resume" not in (gin_check.parameters_of(job.checked.root) or ()):
        return ""
    argv = [a for a in job.argv if a not in ("--resume", "--overwrite")]
    if job.options.workdir is None:
        argv.append(f"--workdir={shown(job.folder)}")
    return shlex.join([f"bin/{job.program}", *argv, "--resume"])


def _finished(job: Job) -> int | None:
    """The exit code of the run in the folder, if nothing of it is left to do.

    That is a run which ended, and was given the same settings.
    """
    code = run_dir.read_code(job.folder)
    if code not in (SUCCESS, INACCURATE):
        return None
    with contextlib.suppress(OSError):
        if (job.folder / "config.gin").read_text() == job.config:
            return code
    return None


# Several processes.


class _NotConnected(Exception):
    """The processes did not connect; the text says which, and why."""


def _process(options: argparse.Namespace) -> processes.Process | None:
    """Which process this is; None for one that is to start several.

    Raises UsageError for settings that do not fit together, and for a port that is
    taken: nothing has been started yet.
    """
    if not hasattr(options, "num_processes"):
        return processes.SINGLE
    try:
        process = processes.resolve(
            os.environ,
            count=options.num_processes,
            index=options.process_index,
            addresses=options.process_addresses,
        )
        if process is not None:
            processes.check_port(process)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if options.join_seconds is not None:
        os.environ[processes.JOIN_SECONDS] = str(options.join_seconds)
    if process is not None and process.count > 1:
        if options.workdir is None:
            raise UsageError("--workdir: none given, wanted one that all processes see")
        if options.seed == -1:
            raise UsageError("--seed=-1: each process would draw its own")
    return process


def _run_beside(job: Job) -> int:
    """Runs the experiment in a process that is not the first: it writes no record."""
    error = _call(job)
    code = _exit_code(job, error)
    if code == FAILED and error is not None:
        if not raised_by_us(error):
            traceback.print_exception(error)
        say(job.program, f"failed: {reason(error)}")
    return code


def _stand_in(options: argparse.Namespace) -> processes.Process:
    """The first of the processes that are to be started, for checks before that."""
    count = options.num_processes or int(os.environ[processes.COUNT])
    return processes.Process(0, count, tuple(f"to-be:{i + 1}" for i in range(count)))


def _supervise(job: Job, files: Sequence[Path]) -> int:
    """Starts the processes here, each with this command and its own place."""
    program, options, stop = job.program, job.options, job.stop

    def command(resume: bool) -> list[str]:
        code = f"from experiments.cli import main; main.run({program!r})"
        argv = [f"--gin_config={file}" for file in files]
        argv += [f"--gin_param={param}" for param in options.gin_param]
        argv += [f"--workdir={job.folder}", f"--seed={job.checked.seed}"]
        if options.resume or resume:
            argv.append("--resume")
        elif options.overwrite:
            argv.append("--overwrite")
        argv += [f"--{options.mode}_only"] if options.mode else []
        if options.init_from is not None:
            argv.append(f"--init_from={options.init_from}")
        return [sys.executable, "-P", "-c", code, *argv]

    job.values.clear()  # data that the processes load for themselves
    stop.raises = False
    return supervisor.supervise(
        command,
        count=processes.current().count,
        folder=job.folder,
        max_restarts=options.max_restarts,
        final=(USAGE, INACCURATE),
        interrupted=INTERRUPTED,
        stop=stop,
        say=lambda text: say(program, text),
    )
