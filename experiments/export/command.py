"""bin/export: a config or a program of a user's own, to a folder that samples it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from experiments.cli import arguments, gin_check, gin_values
from experiments.cli.messages import REPO, USAGE, UsageError, raised_by_us, say, text_of
from experiments.cli.startup_log import start_up_log_filtered
from experiments.cli.statements import read_statements
from experiments.export import folder

if TYPE_CHECKING:
    from experiments.export.exporting import Plan

NUTS = "experiments.nuts.experiment.sample"
PROGRAM = "experiments.sample.nuts.sample"


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the folder; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        options = _parser().parse_args(argv)
        out, more_chains = Path(options.out), _counts(options.chains)
        folder.check_new(out)
        with start_up_log_filtered():
            from experiments.export import exporting

            plan = _plan(options, argv)
            manifest = exporting.export(
                plan,
                out,
                more_chains=more_chains,
                num_reference=options.reference_draws,
            )
    except UsageError as error:
        say("export", str(error))
        return USAGE
    except ValueError as error:
        if not raised_by_us(error):
            raise
        say("export", text_of(error))
        return USAGE
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    num = len(manifest["programs"])
    say(
        "export", f"{out}: {num} programs, {size / 1e6:.1f} MB; run_exported.py runs it"
    )
    return 0


def run() -> NoReturn:
    """Runs `main` as all of a process."""
    sys.exit(main())


def _parser() -> argparse.ArgumentParser:
    what = "Writes a sampler as programs that run without TensorFlow: docs/export.md."
    parser = arguments.plain_parser("export", what)
    add = parser.add_argument
    what = "models.py:eight_schools, say: a file, and a function in it"
    add("program", nargs="?", metavar="FILE.py:FUNCTION", help=what)
    add(
        "--gin_config", metavar="FILE", action="append", default=[], help="of bin/train"
    )
    what = "one gin binding; may be given again"
    add("--gin_param", metavar="NAME=VALUE", action="append", default=[], help=what)
    arguments.add_sample_flags(parser)
    add("--seed", metavar="INT", type=int, default=None, help="default: the config's")
    add("--out", metavar="DIR", required=True, help="a new folder")
    what = "more numbers of chains that programs move at once, such as 16,64,256"
    add("--chains", metavar="N,...", default="", help=what)
    what = "draws of each chain to compare with; default: 100"
    add("--reference_draws", metavar="N", type=int, default=100, help=what)
    return parser


def _counts(text: str) -> list[int]:
    parts = [part for part in text.split(",") if part]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--chains: given {text!r}, wanted numbers such as 16,64")
    return [int(part) for part in parts]


def _plan(options: argparse.Namespace, argv: Sequence[str]) -> "Plan":
    """What the command line says is to be exported."""
    if bool(options.program) == bool(options.gin_config):
        raise UsageError(
            "export: wanted either a program, FILE.py:FUNCTION, or --gin_config=FILE"
        )
    params = [*options.gin_param]
    if options.program:
        files = [REPO / "configs/nuts/program.gin"]
        params += arguments.sample_bindings(options).values()
    else:
        files = [arguments.config_path(text) for text in options.gin_config]
    statements = read_statements(files, params)
    checked = gin_check.check_config(statements, seed=options.seed)
    params.append(f"seed={checked.seed}")
    config = gin_values.parse_config(files, params, statements, checked)
    values = gin_values.construct(checked)
    root = f"{checked.root.__module__}.{checked.root.__qualname__}"
    facts: dict[str, Any] = {
        "seed": checked.seed,
        "config": config,
        "argv": ["bin/export", *argv],
    }
    if root == PROGRAM:
        return _of_program(values, facts)
    if root == NUTS:
        return _of_nuts(values, facts)
    raise UsageError(f"--gin_config: given {root}, wanted one that samples by NUTS")


def _of_program(values: dict[str, Any], facts: dict[str, Any]) -> "Plan":
    from experiments.datasets.named_arrays import named_arrays
    from experiments.export.exporting import Plan
    from experiments.inference import drawing, warmup
    from experiments.inference.given_starts import given_positions
    from experiments.inference.warmup_state import WarmupSettings
    from experiments.sample import loading

    posterior = loading.load(
        values["program"], values.get("data"), dtype=values.get("dtype", "float64")
    )
    named = {
        "num_warmup",
        "target_accept",
        "metric",
        "pooled",
        "step_size",
        "max_depth",
    }
    num_chains, start = values.get("num_chains", 4), None
    if values.get("init") is not None:
        sizes = {"num_chains": num_chains, "dim": posterior.dim}
        drawn = warmup.drawn_starts(drawing.seed_pair(facts["seed"]), **sizes)
        start = given_positions(
            named_arrays(values["init"]), posterior=posterior, drawn=drawn, **sizes
        )
    return Plan(
        name=values["program"].rpartition(":")[2],
        posterior=posterior,
        warmup=WarmupSettings(**{n: values[n] for n in named if n in values}),
        num_chains=num_chains,
        num_draws=values.get("num_draws", 1000),
        start=start,
        **facts,
    )


def _of_nuts(values: dict[str, Any], facts: dict[str, Any]) -> "Plan":
    from experiments.export.exporting import plan_of_regression
    from experiments.nuts.posterior import posterior, split_rows

    problem, settings = values["problem"], values["settings"]
    density = posterior(problem, split_rows(problem, one_block=True))
    return plan_of_regression(
        problem, settings, density, num_chains=settings.num_chains, **facts
    )
