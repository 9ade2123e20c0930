"""The statements of gin configs and --gin_param, read without importing anything.

gin itself takes names that nothing reads, and where it refuses one it does not say what
was meant.  So `gin_check` looks at the statements first.
"""

import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gin import config_parser

from experiments.cli.messages import REPO, UsageError, nearest, shown

COMMAND_LINE = "--gin_param"


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
    file: str  # statements of one file share its imports
    parsed: Any  # one of gin.config_parser's statements


REQUIRED = Macro("gin.REQUIRED")
_VALUES = (
    "a finite number, text in quotes, True, False, None, a list, tuple or dict of "
    "these, @function or %MACRO"
)


class _Delegate(config_parser.ParserDelegate):  # type: ignore[misc]
    """Keeps references and macros as they are written."""

    def configurable_reference(self, name: str, evaluate: bool) -> Reference:
        return Reference(name, evaluate)

    def macro(self, name: str) -> Macro:
        return Macro(name)


def read_statements(files: Sequence[Path], params: Sequence[str]) -> list[Statement]:
    """Every statement of the files, their includes and the bindings, in gin's order.

    Raises UsageError for a file that is missing, unreadable, not gin or included by
    itself, for a binding that is not one, and for a config that only changes another
    where it is given without that one, or before it.
    """
    folders = include_folders(files)
    by_file = [list(_statements_of(file, folders, included=())) for file in files]
    bindings = []
    for param in params:
        where = f"{COMMAND_LINE}={param}"
        parsed = [statement for _, statement in _parsed(param, where, path=None)]
        if [type(one) for one in parsed] != [config_parser.BindingStatement]:
            raise UsageError(f"{where}: wanted one binding, NAME=VALUE")
        bindings.append(Statement(where, COMMAND_LINE, parsed[0]))
    _check_order(files, [*by_file, bindings])
    return [statement for group in [*by_file, bindings] for statement in group]


def _check_order(files: Sequence[Path], groups: Sequence[list[Statement]]) -> None:
    """Raises UsageError for a config of changes that stands before what it changes."""
    names_one = [any(_names_experiment(s) for s in group) for group in groups]
    for number, file in enumerate(files):
        if not names_one[number] and any(names_one[number + 1 : len(files)]):
            base = files[names_one.index(True, number)]
            raise UsageError(
                f"{shown(file)}: given before {shown(base)}, which would override it, "
                "wanted after it"
            )
    if not any(names_one):
        text = files[0].read_text("utf-8")
        example = re.search(r"^#   (bin/.*)$", text, re.MULTILINE)
        hint = f": {example[1]}" if example else ""
        raise UsageError(
            f"{shown(files[0])}: the config says no `experiment`, wanted a line such "
            f"as experiment = @nuts.sample, or a config with one before it{hint}"
        )


def _names_experiment(statement: Statement) -> bool:
    parsed = statement.parsed
    return isinstance(parsed, config_parser.BindingStatement) and (
        (parsed.scope, parsed.selector, parsed.arg_name) == ("", "experiment", "")
    )


def _statements_of(
    path: Path, folders: Sequence[Path], *, included: tuple[Path, ...]
) -> Iterator[Statement]:
    name = shown(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"{name} cannot be read: {why}") from error
    for line, parsed in _parsed(text, name, path=path):
        where = f"{name}:{line}"
        if not isinstance(parsed, config_parser.IncludeStatement):
            yield Statement(where, name, parsed)
            continue
        places = [(folder / parsed.filename).resolve() for folder in folders]
        target = next(filter(Path.is_file, places), None)
        if target is None:
            known = [str(p.relative_to(REPO)) for p in REPO.glob("configs/**/*.gin")]
            hint = nearest(parsed.filename, known)
            raise UsageError(
                f"{where}: include {parsed.filename!r}: there is no such file "
                f"(paths start at the repository or at the config's folder){hint}"
            )
        if target in (*included, path):
            raise UsageError(f"{where}: include {parsed.filename!r} includes itself")
        yield from _statements_of(target, folders, included=(*included, path))


def include_folders(files: Sequence[Path]) -> list[Path]:
    """Where `include` looks: in the repository, and beside the given files."""
    return [REPO, *dict.fromkeys(file.parent for file in files)]


def _parsed(text: str, name: str, *, path: Path | None) -> Iterator[tuple[int, Any]]:
    def not_gin(line: int | None, what: str) -> UsageError:
        at = f"{name}:{line}" if path and line else name
        return UsageError(f"{at}: not gin: {' '.join(what.split())}")

    try:
        for parsed in config_parser.ConfigParser(io.StringIO(text), _Delegate()):
            yield parsed.location.line_num, parsed
    except SyntaxError as error:
        quoted = f" in {error.text.strip()!r}" if path and error.text else ""
        message = str(error.msg)
        if word := re.search(r"Failed to parse token '(.*)'", message):
            message = f"given {word[1]}, wanted {_VALUES}"
        raise not_gin(error.lineno, f"{message}{quoted}") from error
    except tokenize.TokenError as error:
        raise not_gin(error.args[1][0], str(error.args[0])) from error
    except (ValueError, StopIteration, RuntimeError) as error:
        raise not_gin(None, str(error) or "it ends too early") from error
