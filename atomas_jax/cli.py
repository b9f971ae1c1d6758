"""The command `atomas`: one function a subcommand, parsed by tyro; every error a user can cause is one line and exit
code 2."""

import contextlib
import importlib
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from atomas_jax.errors import UserError

COMMANDS = {
    "prepare": ("jobs:prepare", "pairs from files, the hub or SMILES lists -> a prepared corpus"),
    "tokenizer train": ("tokenizer:train", "one tokenizer for SMILES and text from a file of pairs"),
    "tokenizer check": ("tokenizer:check", "does a tokenizer lose nothing of your data?"),
    "train": ("jobs:train", "prepared corpus -> run folder; the same call resumes a stopped run"),
    "run": ("jobs:run", "all of it, from an experiment to report.html"),
    "caption": ("rewriting:caption", "SMILES -> text"),
    "generate": ("rewriting:generate", "text -> SMILES"),
    "retrieve": ("retrieving:retrieve", "molecules for a text, or texts for a molecule"),
    "index build": ("indexing:build", "a file of molecules -> an index to search"),
    "index add": ("indexing:add", "more molecules into an index"),
    "index remove": ("indexing:remove", "molecules out of an index"),
    "index info": ("indexing:info", "what an index holds, and is it whole?"),
    "search": ("searching:search", "molecules of an index for a text, or like a molecule"),
    "serve": ("serving:serve", "all of it over HTTP"),
    "evaluate": ("evaluating:evaluate", "a run folder on a split of its corpus, beside the floors"),
    "compare": ("comparing:compare", "two evaluations: paired differences with intervals, or why not"),
    "assets": ("assets:assets", "vocabularies and WordNet for evaluation: list, download, take"),
    "protocols": ("evaluating:protocols", "the ways of measuring by name, and what each does"),
    "leakage": ("auditing:leakage", "what a test file shares with a training file"),
    "import": ("exchanging:import_", "a T5 checkpoint (Hugging Face, T5X) -> a run folder"),
    "export": ("exchanging:export", "a run folder -> a folder for transformers, with a model card"),
    "compile": ("compiling:compile_", "the training step for TPUs that are not here: memory, arithmetic, does it fit?"),
    "info": ("info:info", "what a run folder, prepared corpus or tokenizer is"),
}
"""Each command by its words: `module:function` under `commands`, and a line of help. Imported when called."""

EXPERIMENT_COMMANDS = ("prepare", "train", "run", "compile")
"""Commands whose defaults are an experiment's: its name comes first, then any setting by name."""


def usage() -> str:
    """The help of `atomas` itself."""
    width = max(map(len, COMMANDS)) + 2
    lines = "\n".join(f"  {name:<{width}}{told}" for name, (_, told) in COMMANDS.items())
    return (
        "usage: atomas COMMAND ...\n\nMolecules and language in one space: the toolkit's command line.\n\n"
        f"{lines}\n\n`atomas COMMAND --help` lists settings with their defaults. "
        "Bad input is one line and exit code 2."
    )


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return
    _remember_compilations()
    try:
        code = dispatch(arguments)
    except UserError as error:
        code = _refuse(arguments[0], str(error))
    except BrokenPipeError:
        code = 0
    except OSError as error:
        # a full disk has an errno and no file; an OSError of a library's own making has neither, and is a defect
        if error.errno is None:
            raise
        code = _refuse(arguments[0], f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))
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


def dispatch(arguments: list[str]) -> int | None:
    """Parse and run one command. Returns its exit code (None: 0)."""
    first, rest = arguments[0], arguments[1:]
    group = [name.split()[1] for name in COMMANDS if name.startswith(f"{first} ")]
    if group:
        if not rest or rest[0] in ("-h", "--help"):
            print(
                f"usage: atomas {first} {{{','.join(group)}}} ...\n\n`atomas {first} {group[0]} --help` lists settings"
            )
            return None
        if rest[0] not in group:
            raise UserError(f"no subcommand {rest[0]!r}: choose {', '.join(group[:-1])} or {group[-1]}")
        name, rest = f"{first} {rest[0]}", rest[1:]
    elif first in COMMANDS:
        name = first
    else:
        raise UserError(
            f"no command {first!r}: choose one of {', '.join(dict.fromkeys(n.split()[0] for n in COMMANDS))}"
        )
    module, _, function = COMMANDS[name][0].partition(":")
    command = getattr(importlib.import_module(f"atomas_jax.commands.{module}"), function)
    if name in EXPERIMENT_COMMANDS:
        command = command(_experiment(name, rest))
    return call(command, rest, f"atomas {name}")


def _experiment(command: str, arguments: list[str]):
    """The experiment whose settings are the defaults of a command."""
    from atomas_jax.config import Experiment, find_experiment

    if arguments and not arguments[0].startswith("-"):
        return find_experiment(arguments[0])
    if {"-h", "--help"} & set(arguments):
        return Experiment()
    # an option's value cannot be told from a name before the settings are known, and they hang on the name
    folder = {"prepare": "--out", "compile": "--topology"}.get(command, "--run")
    raise UserError(f"name the experiment first: atomas {command} EXPERIMENT {folder} ...")


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
