"""The command line as a whole: python -m sgdnoise VERB ... (this room is the only one that prints)."""

from __future__ import annotations

import argparse
import functools
import io
import logging
import os
import sys
import textwrap
from types import ModuleType
from typing import NoReturn

from sgdnoise import __version__
from sgdnoise.cli import begin, decide, keep, look, plan, train
from sgdnoise.cli import run as whole
from sgdnoise.cli.verbs import Verb, run
from sgdnoise.machine.imports import missing_extra

KINDS = (begin, whole, plan, train, look, decide, keep)  # a file each, whose docstring is their title


def command() -> NoReturn:
    """Run the command line of this process, and end it."""
    os.environ["PYTHONSAFEPATH"] = "1"  # of processes that it starts: a file random.py in the working folder is not the library's
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # torch takes 0.5 s to tear down; every file is closed by now


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; a user's error is one line on stderr and exit code 1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: what the locale lacks is no reason to fail
    words = sys.argv[1:] if arguments is None else arguments
    own = words[: words.index("--")] if words[:1] == ["run"] and "--" in words else words
    options = parser().parse_args(own)
    options.snakemake = words[len(own) + 1 :]
    warnings = logging.StreamHandler()
    warnings.setFormatter(logging.Formatter("sgdnoise: warning: %(message)s"))
    logging.getLogger("sgdnoise").handlers = [warnings]
    try:
        run(options)
    except KeyboardInterrupt as stop:
        print(f"sgdnoise: interrupted{stop or '; nothing was written'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, `head` for example, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it exits
        return 1
    except (ValueError, OSError, ModuleNotFoundError) as error:
        what: object = error
        if isinstance(error, ModuleNotFoundError) and not (what := missing_extra(error)):
            raise
        if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):  # of processes that share a batch
            from sgdnoise.machine.parallel import write_down

            write_down(error, path)
        else:
            print(f"sgdnoise: error: {what}", file=sys.stderr)
        return 1
    return 0


def run_verb(arguments: list[str]) -> None:
    """Run one verb; errors are passed on."""
    run(parser().parse_args(arguments))


@functools.cache
def parser() -> argparse.ArgumentParser:
    """Describe every verb and option; `run` of what it parses is the function of the verb."""
    root = argparse.ArgumentParser(
        prog="sgdnoise",
        description="Sweep batch size and learning rate under a fixed compute budget.",
        epilog="\n\n".join(map(listed, KINDS)) + "\n\n`sgdnoise VERB --help` explains one of them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=__version__)
    root.set_defaults(run_verb=run_verb)  # for verbs that call others
    words = root.add_subparsers(required=True, metavar="VERB", help="one of the verbs below")
    for verb in (verb for kind in KINDS for verb in verbs_of(kind)):
        one = words.add_parser(verb.name, description=verb.summary)
        one.set_defaults(run=verb.run)
        for names, details in verb.options:
            one.add_argument(*names, **details)
    return root


def verbs_of(kind: ModuleType) -> list[Verb]:
    """List the verbs of a file in their order there."""
    return [value for value in vars(kind).values() if isinstance(value, Verb)]


def listed(kind: ModuleType) -> str:
    """Write the part of the help that lists the verbs of a file."""
    lines = [
        textwrap.fill(verb.summary, 100, initial_indent=f"  {verb.name:<18}", subsequent_indent=" " * 20)
        for verb in verbs_of(kind)
    ]
    return "\n".join([str(kind.__doc__).rstrip("."), *lines])
