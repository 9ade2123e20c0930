"""Exit codes, and the lines that the command line prints on standard error."""

import difflib
import dis
import errno
import os
import re
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PACKAGES = (REPO / "experiments", REPO / "ppl_core")
INSTALLED = [sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib")]
SUCCESS, FAILED, USAGE, INACCURATE, INTERRUPTED = 0, 1, 2, 3, 75
CODES = """\
   0  done
   1  the experiment failed; run.json has the traceback
   2  a mistake in the command line, a config or a value; nothing was written
   3  the experiment ended, and its accuracy check did not pass (`run_dir.CheckFailed`)
  75  stopped by SIGINT or SIGTERM; run.json says interrupted.  A second signal ends the
      process at once, with 128 + the signal's number
"""


class UsageError(Exception):
    """A mistake in the command line or a config: its text is all that is printed."""


def say(program: str, text: str) -> None:
    """Prints one line on standard error, behind the program's name."""
    sys.stderr.write(f"{program}: {printable(text)}\n")  # at once: two threads say
    sys.stderr.flush()


def printable(text: str) -> str:
    """`text` without the surrogates that stand for bytes that are not UTF-8."""
    return os.fsencode(text).decode(errors="backslashreplace")


def shown(path: Path) -> str:
    """A path as a person in this working directory would type it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name nearest to `name`; empty where none is near."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""


def text_of(error: BaseException) -> str:
    """An exception's text in one line, without the trail that gin adds to it."""
    text = re.sub(r"\n  In call to configurable '.*", "", str(error))
    return " ".join(text.split())


def reason(error: BaseException) -> str:
    """An exception's type and text in one line."""
    name = next(
        c.__name__ for c in type(error).__mro__ if c.__name__ != "ExceptionProxy"
    )
    text = text_of(error)
    return f"{name}: {text}" if text else name


def is_full_disk(error: BaseException | None) -> bool:
    """Whether it says that the disk has no room, or not for this user."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    # By its text, since gin raises a copy that has no errno.
    told = (f"[Errno {number}]" in str(error) for number in full)
    return isinstance(error, OSError) and any(told)


def raised_by_us(error: BaseException) -> bool:
    """Whether a `raise` statement in our own packages raised the error.

    A ValueError may also come from a user's own module.  Its text then says what is
    wrong.  What Python or a library raises may be a bug, and needs its traceback.
    """
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    file = Path(code.co_filename)
    ours = any(file.is_relative_to(path) for path in PACKAGES)
    if isinstance(error, ValueError) and file.is_file():
        ours = ours or not any(file.is_relative_to(path) for path in INSTALLED)
    return ours and code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]
