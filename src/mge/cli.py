"""The command line: a command is a function of `mge.tasks`, its options are the function's parameters.

Only the module of the chosen command is imported, and such a module imports heavy packages inside its function, so that
help needs no torch.
"""

import ast
import importlib
import sys
from pathlib import Path

import mge
from mge.console.allocator import is_about_memory, keep_freed_memory, memory_limit
from mge.console.streams import BROKEN_PIPE, end, full_stream, prepare_streams, silence, tell
from mge.errors import MgeError, OutOfMemoryError, StorageError, first_line


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
    if args[:1] == ["help"]:
        args = [*args[1:], "--help"]
    if not args or args[0] in ("-h", "--help"):
        sys.stdout.write(_overview())
        return
    if args[0] == "--version":
        sys.stdout.write(f"mge {mge.__version__}\n")
        return
    from mge.config.previous_names import COMMANDS, describe_rename  # noqa: PLC0415  (as below)
    from mge.console.command_line import check_known, run_command  # noqa: PLC0415  (it imports cyclopts: 0.1 s)

    command, *rest = args
    if command in COMMANDS:
        now = COMMANDS[command]
        sys.stderr.write(f"mge: warning: {describe_rename(f'`mge {command}`', f'`mge {now}`')}\n")
        command = now
    check_known(command, mge.VERBS, kind="command", help_command="mge --help")
    if command != "serve":  # a server gives memory back
        keep_freed_memory()
    sys.stdout.write(run_command(getattr(importlib.import_module(f"mge.tasks.{command}"), command), rest))


def _overview() -> str:
    commands = "\n".join(f"  {command:<10}{_summary(command)}" for command in mge.VERBS)
    return f"""Usage: mge COMMAND [ARGUMENTS] [OPTIONS]

Fine-grained image classification with a mixture of granularity-specific experts.

Examples:
  mge train beetles
  mge help train

Commands:
{commands}

mge help COMMAND describes a command; mge --version prints the version.
"""


def _summary(command: str) -> str:
    """Return the first sentence of a command's docstring, read without importing its module."""
    tree = ast.parse((Path(__file__).parent / "tasks" / f"{command}.py").read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == command)
    return (ast.get_docstring(function) or "").partition("\n")[0]
