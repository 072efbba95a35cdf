"""The command line: a command is a function of `mge.tasks`, its options are the function's parameters.

Only the module of the chosen command is imported, and such a module imports heavy packages inside its function, so that
help needs no torch.
"""

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

import mge
from mge.console.allocator import is_about_memory, keep_freed_memory, memory_limit
from mge.console.streams import BROKEN_PIPE, end, full_stream, prepare_streams, silence, tell
from mge.errors import ConfigError, MgeError, OutOfMemoryError, StorageError, first_line
from mge.flags import build_parser, check_known, parse
from mge.options import REQUIRED, defaults_of, options_of


def main(args: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: Arguments after `mge`. By default those of the shell.

    Returns:
        The exit code: 0, an MgeError's own, 71 without memory, 130 after Ctrl-C. A bug is not caught.
    """
    prepare_streams()
    try:
        _run(sys.argv[1:] if args is None else args)
        sys.stdout.flush()
    except MgeError as error:
        tell(f"mge: error: {' '.join(str(error).split())}\n")
        end(sys.stdout)
        return error.exit_code
    except (MemoryError, RuntimeError) as error:
        if not is_about_memory(error):
            raise
        limit = memory_limit()
        remedy = f"this process is limited to {limit / 1e9:.1f} GB: raise ulimit -v" if limit else "use fewer at a time"
        tell(f"mge: error: there is not enough memory ({first_line(error)}); {remedy}\n")
        return OutOfMemoryError.exit_code
    except KeyboardInterrupt:
        tell("mge: interrupted\n")
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        silence(sys.stdout)
        end(sys.stderr)
        return BROKEN_PIPE
    except OSError as error:
        reason = full_stream(error)
        if reason is None:
            raise
        tell(f"mge: error: {reason}\n")
        return StorageError.exit_code
    return 0


def _run(args: list[str]) -> None:
    if not args or args[0] in ("-h", "--help", "help"):
        sys.stdout.write(_overview())
    elif args[0] == "--version":
        sys.stdout.write(f"mge {mge.__version__}\n")
    else:
        verb, *rest = args
        check_known(verb, mge.VERBS, kind="verb", help_command="mge --help")
        if verb != "serve":  # a server returns memory to the system
            keep_freed_memory()
        run_verb(verb, getattr(importlib.import_module(f"mge.tasks.{verb}"), verb), rest)


def run_verb(verb: str, function: Callable[..., object], args: list[str]) -> None:
    """Call a command's function with the given options; or print its help or configuration.

    Only the given options are passed on: defaults, also a preset's, are resolved by the function itself.

    Raises:
        ConfigError: an option is unknown, has a value of a wrong type, or is missing.
    """
    options = options_of(function)
    request = parse(verb, options, args)
    settings = request.settings
    defaults = defaults_of(options, preset=settings.get("preset", "default"))
    if request.wants_help:
        summary = (function.__doc__ or "").partition("\n")[0]
        sys.stdout.write(build_parser(verb, options, summary=summary, defaults=defaults).format_help())
        return
    if request.wants_config:
        sys.stdout.write(_as_yaml({**defaults, **settings}))
        return
    for name, option in options.items():
        if option.default is REQUIRED and not settings.get(name):
            raise ConfigError(f"{name} is missing; see mge {verb} --help")
    function(**settings)


def _as_yaml(settings: dict[str, Any]) -> str:
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def _overview() -> str:
    lines = [f"  {verb:<10}{_summary(verb)}" for verb in mge.VERBS]
    return "\n".join(
        [
            "usage: mge VERB [arguments]",
            "",
            "Fine-grained image classification with a mixture of granularity-specific experts.",
            "",
            *lines,
            "",
            "mge VERB --help says what a verb takes; mge --version says which version this is.",
            "",
        ]
    )


def _summary(verb: str) -> str:
    """Return the first sentence of a command's docstring, read without importing its module."""
    tree = ast.parse((Path(__file__).parent / "tasks" / f"{verb}.py").read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == verb)
    return (ast.get_docstring(function) or "").partition("\n")[0]
