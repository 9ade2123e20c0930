"""Refuses configs with names that do not exist or that no run reads, before gin runs.

Imports what the configs import, resolves every name in them, and follows references
from `experiment` to see what a run reads.
"""

import collections
import importlib
import inspect
import pkgutil
import secrets
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, NamedTuple

import gin
from gin import config_parser

from experiments.cli import annotations
from experiments.cli.arguments import MAX_SEED
from experiments.cli.messages import REPO, UsageError, nearest
from experiments.cli.statements import (
    COMMAND_LINE,
    REQUIRED,
    Macro,
    Reference,
    Statement,
)


class Binding(NamedTuple):
    """One parameter bound, its names resolved."""

    where: str
    name: str  # "inference.SamplerSettings.num_results", with its scope; or a macro's
    value: Any
    refers_to: tuple[tuple[Reference | Macro, Any], ...]  # what the value names


Key = tuple[str, Any]  # scope, and the function or class that is bound there
Bindings = dict[Key, dict[str, list[Binding]]]  # by parameter; the last one holds
EXPERIMENT: Key = ("experiment", gin.config.macro)
SEED: Key = ("seed", gin.config.macro)
GIVEN = ("run_dir", "seed", "dry_run", "resume")  # by the command line


class Checked(NamedTuple):
    """A config without mistakes, as far as its names and types tell."""

    bindings: Bindings
    root: Any  # the function that `experiment` names
    scope: str  # in which it is called
    selector: str  # "nuts.sample", as the config writes it
    seed: int
    unread: frozenset[str]  # macros whose only readers a later binding replaced


def check_config(statements: Sequence[Statement], *, seed: int | None) -> Checked:
    """Checks every name and every type in the config.

    seed: the command line's, which wins; None if it gave none.  Raises UsageError, with
    file and line, for a name that is unknown or that nothing reads, for a required
    value that is missing, for a value of a wrong type, and for a bad seed.
    """
    bindings = _resolve_all(statements)
    selector, root, macros = _root(bindings)
    scope = selector.rpartition("/")[0]
    read, unread, selectors = _walk(bindings, scope, root, macros)
    for key, parameters in bindings.items():
        if key not in read:
            binding = next(iter(parameters.values()))[-1]
            raise UsageError(_nothing_reads(binding, key, bindings, selectors))
    if seed is None and SEED in bindings:
        where, _, seed, _ = bindings[SEED]["value"][-1]
        if type(seed) is not int or not -1 <= seed <= MAX_SEED:
            wanted = f"an integer from 0 to {MAX_SEED}, or -1 to draw one"
            raise UsageError(f"{where}: seed: given {seed!r}, wanted {wanted}")
    seed = secrets.randbelow(MAX_SEED + 1) if seed == -1 else seed or 0
    return Checked(bindings, root, scope, selector, seed, unread)


# What names stand for.


def _resolve_all(statements: Sequence[Statement]) -> Bindings:
    """Every binding under the function or class that it is for."""
    symbols = _import_all(statements)
    bindings: Bindings = collections.defaultdict(lambda: collections.defaultdict(list))
    for where, file, parsed in statements:
        visible = symbols[file]
        if isinstance(parsed, config_parser.BlockDeclaration):
            _resolve(parsed.selector, visible, where)
        if not isinstance(parsed, config_parser.BindingStatement):
            continue
        refers_to = tuple(
            (name, _target(name, visible, where)) for name in _names_in(parsed.value)
        )
        scoped = "/".join(filter(None, (parsed.scope, parsed.selector)))
        if not parsed.arg_name:  # NAME = value
            key, parameter, name = (scoped, gin.config.macro), "value", scoped
        else:
            target = _resolve(parsed.selector, visible, where, parsed.arg_name)
            key, parameter = (parsed.scope, target), parsed.arg_name
            name = f"{scoped}.{parameter}"
            known = parameters_of(target)
            if known is not None and parameter not in known:
                hint = nearest(parameter, known)
                raise UsageError(
                    f"{where}: {parsed.selector} has no parameter {parameter!r}{hint}"
                )
        bindings[key][parameter].append(Binding(where, name, parsed.value, refers_to))
    return bindings


def _import_all(statements: Sequence[Statement]) -> dict[str, dict[str, Any]]:
    """What each file's imports make visible in it; on the command line, all of it."""
    symbols: dict[str, dict[str, Any]] = collections.defaultdict(dict)
    dynamic: set[str] = set()
    for where, file, parsed in statements:
        if not isinstance(parsed, config_parser.ImportStatement):
            bound = getattr(parsed, "arg_name", "")
            if bound and file not in dynamic and file != COMMAND_LINE:
                wanted = "from __gin__ import dynamic_registration"
                raise UsageError(f"{where}: wanted `{wanted}` before the first binding")
        elif parsed.module == "__gin__.dynamic_registration":
            dynamic.add(file)
        elif parsed.module.startswith("__gin__."):
            hint = nearest(parsed.bound_name(), ["dynamic_registration"])
            raise UsageError(f"{where}: gin has no {parsed.bound_name()!r}{hint}")
        else:
            module = _import(parsed.module, where)
            if not parsed.is_from and not parsed.alias:
                module = sys.modules[parsed.module.partition(".")[0]]
            symbols[file][parsed.bound_name()] = module
    for visible in list(symbols.values()):
        symbols[COMMAND_LINE].update(visible)
    for file in [*symbols, *dynamic, *(s.file for s in statements)]:
        symbols[file]["gin"] = types.SimpleNamespace(singleton=gin.config.singleton)
    return symbols


def _import(module: str, where: str) -> types.ModuleType:
    """Imports a module; a user's own also from beside the config or the working folder.

    Those folders come last on the path and only where a module needs them, so that
    nothing in them hides a library.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not f"{module}.".startswith(f"{missing}.") or not missing:
            raise  # the module is there; what it imports is not
        parent, _, name = missing.rpartition(".")
        beside = [str(Path(where.rpartition(":")[0]).resolve().parent), str(Path.cwd())]
        for folder in () if parent else beside:
            found = PathFinder.find_spec(missing, [folder])
            if found is not None and folder not in sys.path:
                sys.path.append(folder)
                return _import(module, where)
        inside = importlib.import_module(parent).__path__ if parent else ()
        paths = inside or [*beside, str(REPO)]
        hint = nearest(name, [found.name for found in pkgutil.iter_modules(paths)])
        places = "the config's folder, the working directory and PYTHONPATH"
        looked = "" if parent else f" (looked in {places})"
        raise UsageError(
            f"{where}: there is no module {missing!r}{looked}{hint}"
        ) from error


def _names_in(value: Any) -> Iterator[Reference | Macro]:
    """The references and macros anywhere in a value."""
    if isinstance(value, (Reference, Macro)):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        inside = [*value, *value.values()] if isinstance(value, dict) else value
        for item in inside:
            yield from _names_in(item)


def _target(name: Reference | Macro, visible: dict[str, Any], where: str) -> Any:
    if isinstance(name, Macro):
        return gin.config.macro
    return _resolve(name.name.rpartition("/")[2], visible, where)


def _resolve(
    selector: str, visible: dict[str, Any], where: str, parameter: str = ""
) -> Any:
    """The function or class that a dotted name stands for in a file."""
    head, *rest = selector.split(".")
    if head not in visible:
        inside = [n for n, module in visible.items() if hasattr(module, head)]
        meant = ".".join([*inside[:1], selector, *([parameter] if parameter else [])])
        hint = f"; did you mean {meant!r}?" if inside else ""
        hint = hint or nearest(head, visible.keys() - {"gin"})
        raise UsageError(f"{where}: {selector}: no import provides {head!r}{hint}")
    value, path = visible[head], head
    for name in rest:
        if not hasattr(value, name):
            hint = nearest(name, [n for n in dir(value) if not n.startswith("_")])
            raise UsageError(f"{where}: {path} has no {name!r}{hint}")
        value, path = getattr(value, name), f"{path}.{name}"
    if not callable(value):
        kind = type(value).__name__
        raise UsageError(f"{where}: {selector} is a {kind}, wanted a function or class")
    return value


def _signature(target: Any) -> dict[str, inspect.Parameter] | None:
    try:
        return dict(inspect.signature(target).parameters)
    except ValueError:  # some builtins have none
        return None


def parameters_of(target: Any) -> list[str] | None:
    """The names that may be bound; None when any may."""
    signature = _signature(target)
    if signature is None:
        return None
    kinds = {parameter.kind for parameter in signature.values()}
    if inspect.Parameter.VAR_KEYWORD in kinds:
        return None
    unnamed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
    return [name for name, p in signature.items() if p.kind not in unnamed]


# What a run reads.


def _prefixes(scope: str) -> list[str]:
    """The scopes whose bindings hold in `scope`: "a/b" has "", "a" and "a/b"."""
    parts = scope.split("/") if scope else []
    return ["/".join(parts[:end]) for end in range(len(parts) + 1)]


def effective(bindings: Bindings, scope: str, target: Any) -> dict[str, Binding]:
    """What gin gives a function called in a scope: the last of the innermost scope."""
    values: dict[str, Binding] = {}
    for prefix in _prefixes(scope):
        parameters = bindings.get((prefix, target), {})
        values |= {name: bound[-1] for name, bound in parameters.items()}
    return values


def _root(bindings: Bindings) -> tuple[str, Any, set[Key]]:
    """What `experiment` names, its function, and the macros that lead to it.

    Raises UsageError where it is no function that can be an experiment.
    """
    name, macros = EXPERIMENT[0], set[Key]()
    while True:
        macros.add((name, gin.config.macro))
        bound = effective(bindings, name, gin.config.macro)["value"]
        if not isinstance(bound.value, Macro) or bound.value == REQUIRED:
            break
        name = bound.value.name
        if not effective(bindings, name, gin.config.macro):
            raise UsageError(_no_macro(bound, name, bindings))
        if (name, gin.config.macro) in macros:
            break
    if not isinstance(bound.value, Reference) or bound.value.call:
        wanted = "@ and a function's name, without parentheses"
        raise UsageError(f"{bound.where}: experiment: wanted {wanted}")
    target = bound.refers_to[0][1]
    known = parameters_of(target)
    for parameter in ("run_dir", "seed"):
        if known is not None and parameter not in known:
            text = f"@{bound.value.name} does not take {parameter!r}"
            raise UsageError(f"{bound.where}: {text}")
    return bound.value.name, target, macros


def _walk(
    bindings: Bindings, root_scope: str, root: Any, macros: set[Key]
) -> tuple[set[Key], frozenset[str], dict[Any, str]]:
    """The keys that a run reads, macros replaced, and the selector of each target.

    A macro also counts as read where a later binding replaced the one that reads it: an
    override must not make its base an error.
    """
    read = {key for key in bindings if key in macros or key == SEED}
    held, selectors = set(read), dict[Any, str]()
    seen: set[tuple[str, Any, bool, bool]] = set()
    queue = [(root_scope, root, True, True)]
    while queue:
        place = queue.pop()
        if place in seen:
            continue
        seen.add(place)
        scope, target, called, holds = place
        keys = [(p, target) for p in _prefixes(scope) if (p, target) in bindings]
        read.update(keys)
        held.update(keys if holds else ())
        given = GIVEN if target is root else ()
        values = effective(bindings, scope, target)
        _check_call(target, values, bindings, given=given, called=called)
        for bound in (b for key in keys for b in bindings[key].values()):
            for binding in bound:
                last = binding is bound[-1]
                if target is not gin.config.macro:
                    selectors[target] = binding.name.rpartition(".")[0]
                for name, referred in binding.refers_to:
                    if isinstance(name, Reference):
                        selectors.setdefault(referred, name.name)
                for reached in _follow(binding, scope, last, bindings):
                    queue.append((*reached, holds and last))
    replaced = {scope for scope, target in read - held if target is gin.config.macro}
    return read, frozenset(replaced), selectors


def _follow(
    binding: Binding, scope: str, holds: bool, bindings: Bindings
) -> Iterator[tuple[str, Any, bool]]:
    """The places that a binding's value leads to."""
    for name, target in binding.refers_to:
        if isinstance(name, Macro):
            if name == REQUIRED:
                continue
            if holds and not effective(bindings, name.name, gin.config.macro):
                raise UsageError(_no_macro(binding, name.name, bindings))
            yield name.name, target, True
        elif holds:
            yield name.name.rpartition("/")[0] or scope, target, name.call


def _check_call(
    target: Any,
    values: Mapping[str, Binding],
    bindings: Bindings,
    *,
    given: Sequence[str],
    called: bool,
) -> None:
    """Raises UsageError for a value that is missing, ignored or of a wrong type."""
    types_of = {} if target is gin.config.macro else annotations.annotations(target)
    for name, binding in values.items():
        if name in given:
            what = f"{binding.where}: {binding.name} is never read"
            raise UsageError(f"{what}: the launcher gives it, see {_flag(name)}")
        if REQUIRED in _names_in(binding.value):
            raise UsageError(
                f"{binding.where}: {binding.name} is %gin.REQUIRED; give it a value, "
                f"such as --gin_param={binding.name}=..."
            )
        settled_one = settled(binding, bindings)
        if name in types_of and not any(_names_in(settled_one.value)):
            check_type(settled_one, settled_one.value, types_of[name])
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for name, parameter in (_signature(target) or {}).items() if called else ():
        lacks = parameter.default is parameter.empty and parameter.kind not in variadic
        if lacks and name not in values and name not in given:
            selector = f"{target.__module__}.{target.__qualname__}"
            raise UsageError(f"{selector} needs {name!r}, and no config binds it")


def check_type(binding: Binding, value: Any, annotation: Any) -> None:
    """Raises UsageError where `value` is not of the annotated type."""
    if not annotations.fits(value, annotation):
        text = repr(value) if len(repr(value)) < 60 else f"a {type(value).__name__}"
        wanted = annotations.wanted(annotation)
        raise UsageError(
            f"{binding.where}: {binding.name}: given {text}, wanted {wanted}"
        )


def settled(binding: Binding, bindings: Bindings, depth: int = 8) -> Binding:
    """The binding with what its macro stands for, and where that is written."""
    while isinstance(binding.value, Macro) and binding.value != REQUIRED and depth:
        bound = effective(bindings, binding.value.name, gin.config.macro)
        if "value" not in bound:
            return binding._replace(value=REQUIRED)
        where, _, value, _ = bound["value"]
        binding, depth = binding._replace(where=where, value=value), depth - 1
    return binding


# What the errors say.


def _no_macro(binding: Binding, name: str, bindings: Bindings) -> str:
    macros = [s for s, target in bindings if target is gin.config.macro]
    return f"{binding.where}: no macro {name!r} is set{nearest(name, macros)}"


def _flag(parameter: str) -> str:
    return "--workdir" if parameter == "run_dir" else f"--{parameter}"


def _nothing_reads(
    binding: Binding, key: Key, bindings: Bindings, selectors: Mapping[Any, str]
) -> str:
    (scope, target), name = key, binding.name
    text = f"{binding.where}: nothing reads {name}"
    if target is not gin.config.macro:
        if scope:
            return f"{text}: the experiment refers to nothing in the scope {scope!r}"
        return f"{text}: the experiment is given nothing made by it"
    if name in GIVEN:
        return f"{text}: the launcher gives it, see {_flag(name)}"
    full = [
        f"{selector}.{name}"
        for read, selector in selectors.items()
        if name in (parameters_of(read) or ())
    ]
    every = (b for parameters in bindings.values() for b in parameters.values())
    named = {
        macro.name
        for bound in every
        for reader in bound
        for macro, _ in reader.refers_to
        if isinstance(macro, Macro) and macro != REQUIRED
    }
    if full and name.upper() not in named:
        return f"{text}; did you mean {' or '.join(map(repr, full))}?"
    return text + nearest(name, {*named, EXPERIMENT[0], SEED[0]})
