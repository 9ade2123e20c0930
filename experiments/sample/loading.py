"""A user's program by its place, and its data matched to what it takes."""

import difflib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import ppl_core as ppl
from experiments.datasets.named_arrays import named_arrays

Program = Callable[..., Any]


class Digests(NamedTuple):
    """What identifies a program's file and its data."""

    program: str
    program_sha256: str  # "" of a module by its dotted name
    data: str  # the file's name
    data_sha256: str


def digests(program: str, data: str | None) -> Digests:
    """The names of the program and of the data's file, and what their contents are."""
    source = program.rpartition(":")[0]
    return Digests(
        program=f"{Path(source).name}:{program.rpartition(':')[2]}",
        program_sha256=_sha256(source if source.endswith(".py") else None),
        data="" if data is None else Path(data).name,
        data_sha256=_sha256(data),
    )


def load(program: str, data: str | None, *, dtype: str = "float64") -> ppl.Posterior:
    """The posterior of the program in a file, given the data in another.

    program: "models.py:eight_schools", or "package.module:function".
    data: a file for `named_arrays`.  A name that the program has as a parameter is its
      argument, every other one an observed variable.

    Raises ValueError, in one line that names the thing, for what is not there or does
    not import, for names that the program lacks or needs, for data that do not fit
    their variables, and as `ppl.posterior` does.
    """
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype: given {dtype!r}, wanted float64 or float32")
    values = {} if data is None else named_arrays(data)
    return _posterior(load_program(program), values, data, tf.as_dtype(dtype))


def load_program(place: str) -> Program:
    """The function at "models.py:name" or "package.module:name".

    A file may import what lies beside it.  Raises ValueError as `load` does.
    """
    module_name, colon, name = place.rpartition(":")
    if not colon or not module_name or not name.isidentifier():
        raise ValueError(
            f"program: given {place!r}, wanted FILE.py:FUNCTION, such as "
            "models.py:eight_schools"
        )
    module = _module(module_name)
    program = getattr(module, name, None)
    if callable(program):
        return program
    functions = [
        other
        for other, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    near = difflib.get_close_matches(name, functions, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f", wanted one of {functions}"
    if program is None:
        raise ValueError(f"program: given no function {name!r} of {module_name}{hint}")
    kind = type(program).__name__
    raise ValueError(
        f"program: given {name!r} of {module_name}, which is of type {kind}{hint}"
    )


def _module(name: str) -> ModuleType:
    try:
        if not name.endswith(".py") and "/" not in name:
            return importlib.import_module(name)
        path = Path(name)
        if not path.is_file() or path.suffix != ".py":
            what = "there is no file "
            if path.exists():
                what = "wanted a file that ends in .py, given "
            raise ValueError(f"program: {what}{name}")
        return _import_file(path.resolve(), _sha256(name))
    except ValueError as error:
        if str(error).startswith("program: "):
            raise
        raise ValueError(_failed_import(name, error)) from error
    except Exception as error:  # whatever a user's file does when it is imported
        raise ValueError(_failed_import(name, error)) from error


@functools.lru_cache(maxsize=8)
def _import_file(path: Path, digest: str) -> ModuleType:
    """The module in a file, imported once as long as its content stays the same."""
    del digest
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that nothing beside it hides a library
    name = path.stem if path.stem not in sys.modules else f"program_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # for dataclasses and pickles of the file
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _failed_import(name: str, error: Exception) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1]
    text = " ".join(str(error).split())
    return (
        f"program: {name} does not import: {type(error).__name__}: {text}, line {line}"
    )


def _posterior(
    program: Program, values: Mapping[str, Any], data: str | None, dtype: tf.DType
) -> ppl.Posterior:
    """The posterior with the data given to parameters and to observed variables."""
    label, name = data or "data", ppl_name(program)
    parameters = inspect.signature(program).parameters
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    by_name = {n: p for n, p in parameters.items() if p.kind not in variadic}
    nameless = [n for n, p in by_name.items() if p.kind == p.POSITIONAL_ONLY]
    if nameless:
        raise ValueError(f"{name}: given {nameless} without names, wanted named ones")
    missing = [
        name
        for name, parameter in by_name.items()
        if parameter.default is parameter.empty and name not in values
    ]
    if missing:
        given = f"{label}: given {sorted(values)}" if data else f"{name}: given no data"
        raise ValueError(f"{given}, wanted {missing} too, which {name} takes")
    kwargs = {name: value for name, value in values.items() if name in by_name}
    observed = {name: value for name, value in values.items() if name not in by_name}
    for name, value in values.items():
        if (
            isinstance(value, np.ndarray)
            and value.dtype.kind == "U"
            and name in observed
        ):
            raise ValueError(f"{label}: {name}: given text, wanted numbers")
    try:
        posterior = ppl.unconstrain(
            program, kwargs=kwargs, observed=observed, dtype=dtype
        )
    except Exception as error:
        _explain(error, program, kwargs, observed, label)
        raise
    if data is not None and not observed:
        _check_used(posterior, program, kwargs, label)
    return posterior


def ppl_name(program: Program) -> str:
    """The program's name in messages."""
    return getattr(program, "__name__", repr(program))


def _variables(program: Program, kwargs: Mapping[str, Any]) -> dict[str, str] | None:
    """The kind of each variable of the program, by name; None where it does not run."""
    numbers = {  # whole numbers of a file may stand for others
        name: np.asarray(value, np.float64)
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu"
        else value
        for name, value in kwargs.items()
    }
    for given in (kwargs, numbers):
        try:
            described = ppl.describe(program, kwargs=given)
        except Exception:  # the error that is being explained comes again
            continue
        return {variable.name: variable.kind for variable in described}
    return None


def _explain(
    error: Exception,
    program: Program,
    kwargs: Mapping[str, Any],
    observed: Mapping[str, Any],
    label: str,
) -> None:
    """Raises ValueError, in one line, for what is wrong with data or program."""
    known = _variables(program, kwargs)
    if known is not None and not known:
        raise ValueError(
            f"{ppl_name(program)}: given no random variable, wanted some"
        ) from error
    unknown = sorted(observed.keys() - (known or observed).keys())
    if known and unknown:
        parameters = [*inspect.signature(program).parameters]
        near = difflib.get_close_matches(unknown[0], [*known, *parameters], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"{label}: given {unknown}, wanted parameters {parameters} or variables "
            f"{[*known]} of {ppl_name(program)}{hint}; what it does not use, leave out "
            "of the data or make a parameter of it"
        ) from error
    text = " ".join(str(error).split())
    name = ppl_name(program)
    if isinstance(error, ValueError):
        prefix = "" if text.startswith(f"{name}: ") else f"{name}: "
        raise ValueError(f"{prefix}{text}") from error
    frames = traceback.extract_tb(error.__traceback__)
    code = getattr(program, "__code__", None)
    own = [f.lineno for f in frames if code and f.filename == code.co_filename]
    where = f", line {own[-1]}" if own else ""
    raise ValueError(f"{name}: {type(error).__name__}: {text[:300]}{where}") from error


def _check_used(
    posterior: ppl.Posterior, program: Program, kwargs: Mapping[str, Any], label: str
) -> None:
    """Raises ValueError for data of which none is observed, where none is a factor."""
    known = _variables(program, kwargs)
    if known and not {"data", "factor"} & {*known.values()}:
        raise ValueError(
            f"{label}: given {sorted(kwargs)}, wanted data of a variable too: of "
            f"{[*known]}, none is observed"
        )


def _sha256(path: str | None) -> str:
    if path is None or not Path(path).is_file():
        return ""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
