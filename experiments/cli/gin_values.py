"""gin itself: reads the config, makes the experiment's arguments, and calls it.

gin-config is pinned to one version, and the few names with an underscore are of that
one: gin has no public way to print a part of its config.
"""

import contextlib
import copy
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gin
from gin import config_parser

from experiments.cli import annotations
from experiments.cli.gin_check import (
    EXPERIMENT,
    SEED,
    Binding,
    Checked,
    check_type,
    effective,
    parameters_of,
    settled,
)
from experiments.cli.messages import REPO, UsageError, raised_by_us, reason, text_of
from experiments.cli.statements import Statement, include_folders

# What a constructor or a data loader raises for what it was given.
MISTAKES = (ValueError, TypeError, OSError, MemoryError, OverflowError)


def parse_config(
    files: Sequence[Path],
    params: Sequence[str],
    statements: Sequence[Statement],
    checked: Checked,
) -> str:
    """Lets gin read the files and bindings, locks the result, and returns it as text.

    The text is itself a config, sorted and with its includes in place.
    """
    imports = {
        s.parsed.format(): None
        for s in statements
        if isinstance(s.parsed, config_parser.ImportStatement)
    }
    # gin keeps imports file by file; on the command line every one of them is seen.
    head = ["from __gin__ import dynamic_registration"]
    head += [line for line in imports if line != head[0]]
    for folder in include_folders(files):
        gin.add_config_file_search_path(str(folder))
    logging.disable()  # gin reports each folder where an included file is not
    try:
        with contextlib.chdir(REPO):
            gin.parse_config_files_and_bindings(
                [str(file) for file in files], [*head, *params]
            )
    except Exception as error:
        raise UsageError(f"gin: {reason(error)}") from error
    finally:
        logging.disable(logging.NOTSET)
    for name in checked.unread:  # the text would be refused for them as a config
        gin.config._CONFIG.pop((name, "gin.macro"), None)
    return str(gin.config_str())


def construct(checked: Checked) -> dict[str, Any]:
    """The arguments that the config binds for the experiment, every object made.

    Raises UsageError, with the parameter and its line, where a constructor or a data
    loader refuses what it is given, and for an object of a wrong type.
    """
    values = {}
    bound = effective(checked.bindings, checked.scope, checked.root)
    types = annotations.annotations(checked.root)
    with _scope(checked.scope):
        unresolved = gin.get_bindings(checked.root, resolve_references=False)
        for name, value in unresolved.items():
            try:
                values[name] = copy.deepcopy(value)  # makes what `@name()` stands for
            except Exception as error:
                if isinstance(error, MISTAKES) or raised_by_us(error):
                    raise UsageError(mistake(error, checked, bound[name])) from error
                raise
            if name in types and name in bound:
                check_type(bound[name], values[name], types[name])
    return values


def call(checked: Checked, values: dict[str, Any], **more: Any) -> object:
    """Calls the experiment with `values`, its seed, and of `more` what it takes."""
    experiment, seed = _macro(EXPERIMENT[0]), _macro(SEED[0])
    takes = parameters_of(checked.root) or ()
    given = {name: value for name, value in more.items() if name in takes}
    return experiment(seed=seed, **values, **given)


def mistake(error: Exception, checked: Checked, outer: Binding | None = None) -> str:
    """The error in one line that names the parameter it is about, and its line.

    outer: the parameter of the experiment for which something was made; None where the
      experiment itself refused something.
    """
    text = text_of(error) or reason(error)
    head, colon, rest = text.partition(":")
    makers = re.findall(r"\n  In call to configurable '([^']+)'", str(error))
    makers = makers or [checked.root.__name__]

    def rank(target: Any) -> int:
        """0 for who refused it; 1 for what stands beside the experiment."""
        if getattr(target, "__name__", "") in makers:
            return 0
        packages = (getattr(one, "__module__", "") for one in (target, checked.root))
        return 2 - (len({name.rpartition(".")[0] for name in packages}) == 1)

    found = [
        (rank(target), parameter, settled(bound[-1], checked.bindings))
        for (_, target), parameters in checked.bindings.items()
        for parameter, bound in parameters.items()
    ]
    found.sort(key=lambda one: one[0])
    for far, parameter, binding in found:
        if colon and parameter == head and (outer is None or not far):
            return f"{binding.where}: {binding.name}:{rest}"
    for far, _, (where, name, value, _) in found:
        if not far and isinstance(value, str) and value and value in text:
            return f"{where}: {name}: {text}"
    return f"{outer.where}: {outer.name}: {text}" if outer else text


def operative_config(checked: Checked) -> str:
    """What the run read, defaults included, as a config that can be run again."""
    try:
        selector = gin.config._INVERSE_REGISTRY[checked.root].selector
        used = {key: dict(read) for key, read in gin.config._OPERATIVE_CONFIG.items()}
        for key, bound in gin.config._CONFIG.items():
            if key[1] == selector:  # given by `call`, so gin does not see them read
                used[key] = used.get(key, {}) | bound
        return str(gin.config._config_str(used))
    except Exception as error:  # a record of the run must not fail for this
        return f"# gin could not write it: {reason(error)}\n"


def changed(before: str, after: str) -> str:
    """What differs between the texts of two configs, in one line; "" for nothing."""
    old, new = _settings(before), _settings(after)
    parts = [
        f"{name} = {new.get(name, '(default)')}, was {old.get(name, '(default)')}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    return "; ".join(parts)


def _settings(config: str) -> dict[str, str]:
    """Every binding in the text of a config, which may go on over indented lines."""
    lines = (" ".join(line.split()) for line in re.split(r"\n(?=\S)", config))
    named = (line.partition(" = ") for line in lines if not line.startswith("#"))
    return {name: value.lstrip("\\ ") for name, equals, value in named if equals}


def _macro(name: str) -> Any:
    with gin.config_scope(name):
        return gin.get_configurable(gin.config.macro)()


def _scope(name: str) -> contextlib.AbstractContextManager[Any]:
    return gin.config_scope(name) if name else contextlib.nullcontext()
