"""The command `atomas`: one function a subcommand, parsed by tyro; every error a user can cause is one line and exit
code 2."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from atomas_jax.errors import UserError

USAGE = """usage: atomas COMMAND ...

Molecules and language in one space: the toolkit's command line.

  prepare     pairs from files, the hub or SMILES lists -> a prepared corpus
  tokenizer   train a tokenizer, or check that one loses nothing of your data
  train       prepared corpus -> run folder; the same call resumes a stopped run
  run         all of it, from an experiment to report.html
  caption     SMILES -> text
  generate    text -> SMILES
  retrieve    molecules for a text, or texts for a molecule
  evaluate    a run folder on a split of its corpus, beside the floors
  info        what a run folder, prepared corpus or tokenizer is

`atomas COMMAND --help` lists settings with their defaults. Bad input is one line and exit code 2."""

EXPERIMENT_COMMANDS = ("prepare", "train", "run")


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return
    _remember_compilations()
    try:
        code = dispatch(arguments[0], arguments[1:])
    except UserError as error:
        code = _refuse(arguments[0], str(error))
    except BrokenPipeError:
        code = 0
    except OSError as error:
        if error.filename is None:
            raise
        code = _refuse(arguments[0], f"{error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        print(f"atomas {arguments[0]}: interrupted", file=sys.stderr)
        code = 130
    sys.exit(code or 0)


def _remember_compilations() -> None:
    """Keep compiled programs between commands, in the user's cache, unless jax was told where to keep them."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atomas_jax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def _refuse(command: str, message: str) -> int:
    """Say in one line what is wrong; returns the exit code."""
    line = re.sub(r"\s*[\r\n\v\f\x85\u2028\u2029]+\s*", " ", message.strip())
    print(f"atomas {command}: {line}", file=sys.stderr)
    return 2


def dispatch(command: str, arguments: list[str]) -> int | None:
    """Parse and run one subcommand. Returns its exit code (None: 0)."""
    from atomas_jax import commands

    table: dict[str, Callable] = {
        "caption": commands.caption,
        "generate": commands.generate,
        "retrieve": commands.retrieve,
        "evaluate": commands.evaluate,
        "info": commands.info,
    }
    if command in EXPERIMENT_COMMANDS:
        return _experiment_command(command, arguments)
    if command == "tokenizer":
        table = {"train": commands.tokenizer_train, "check": commands.tokenizer_check}
        if not arguments or arguments[0] in ("-h", "--help"):
            print("usage: atomas tokenizer {train,check} ...\n\n`atomas tokenizer train --help` lists settings")
            return None
        command, arguments = arguments[0], arguments[1:]
        if command not in table:
            raise UserError(f"no subcommand {command!r}: choose train or check")
        return call(table[command], arguments, f"atomas tokenizer {command}")
    if command not in table:
        known = ", ".join([*EXPERIMENT_COMMANDS, "tokenizer", *table])
        raise UserError(f"no command {command!r}: choose one of {known}")
    return call(table[command], arguments, f"atomas {command}")


def _experiment_command(command: str, arguments: list[str]) -> int | None:
    """Commands whose defaults are an experiment's: its name comes first, then any setting by name."""
    from atomas_jax import commands
    from atomas_jax.config import Experiment, find_experiment

    if arguments and not arguments[0].startswith("-"):
        default = find_experiment(arguments[0])
    elif {"-h", "--help"} & set(arguments):
        default = Experiment()
    else:
        # an option's value cannot be told from a name before the settings are known, and they hang on the name
        folder = "--out" if command == "prepare" else "--run"
        raise UserError(f"name the experiment first: atomas {command} EXPERIMENT {folder} ...")
    function = {"prepare": commands.prepare, "train": commands.train, "run": commands.run}[command]
    return call(function(default), arguments, f"atomas {command}")


def call(function: Callable, arguments: list[str], program: str):
    """Parse the arguments of a function by its signature and call it. Raises UserError where they do not parse."""
    said = io.StringIO()
    try:
        # tyro prints its errors in boxes of many lines; ours are one
        with contextlib.redirect_stderr(said):
            parsed = tyro.cli(
                _parser_of(function), args=arguments, prog=program, description=function.__doc__, registry=_registry()
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(_one_line(said.getvalue(), program)) from None
    return function(**parsed)


def _registry() -> ConstructorRegistry:
    """How tyro reads our own types: a source is one word, so that lists of them can be given."""
    from atomas_jax.corpus.configuration import Source

    registry = ConstructorRegistry()

    @registry.primitive_rule
    def _(wanted: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
        if wanted.type is not Source:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="FILE[,SETTING=VALUE...]",
            instance_from_str=lambda words: Source.parse(words[0]),
            is_instance=lambda value: isinstance(value, Source),
            str_from_instance=lambda source: [source.word],
        )

    return registry


def _parser_of(function: Callable) -> Callable:
    """The function's signature, giving back its arguments instead of doing its work."""
    import functools

    @functools.wraps(function)
    def collect(**arguments):
        return arguments

    return collect


def _one_line(box: str, program: str) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m|-{5,}", "", box)  # colours; rules, where the terminal has no box characters
    lines = [re.sub(r"^[│╭╰╮╯─\s]+|[│╭╰╮╯─\s]+$", "", line) for line in text.splitlines()[1:]]
    sections, current = [], []
    for line in lines:
        if line:
            current.append(line)
        elif current:
            sections.append(" ".join(current))
            current = []
    told = [section for section in sections if not section.startswith("For full helptext")]
    return f"{'; '.join(told)[:600]} (see {program} --help)"
