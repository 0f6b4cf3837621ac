"""The console script ``kipax``: one module per command, found by name and imported alone.

The first line of a module's docstring is shown in the list of commands; its function ``main`` reads
`sys.argv`.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

from absl import flags

from kipax.console import fail, print_result
from kipax.errors import UsageError, check_choice
from kipax.version import __version__

__all__ = ["list_commands", "main"]

flags.disclaim_key_flags()  # the calling program owns the flags

_FOLDER = Path(__file__).parent
_HELP = ("--help", "-help", "-h", "-?")


def list_commands() -> dict[str, str]:
    """Returns every command with the first line of its docstring, without importing any.

    Example:
        >>> list_commands()["label_solve"]
        'Label Solve: the best labels for a few real images, in closed form.'
    """
    commands = {}
    for path in sorted(_FOLDER.glob("[a-z]*.py")):
        about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        commands[path.stem] = about.partition("\n")[0]
    return commands


def _describe() -> str:
    commands = list_commands()
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {about}" for name, about in commands.items()]
    return "\n".join(
        [
            "Kernel dataset distillation: kipax COMMAND --FLAG=VALUE ...",
            "",
            *lines,
            "",
            "kipax COMMAND --help explains a command and lists its flags.",
        ]
    )


def _find(word: str) -> str:
    """Returns the command for a word, with or without hyphens."""
    names = list(list_commands())
    name = word.replace("-", "_")
    if name in names:
        return name
    if word.startswith("-"):
        raise UsageError(
            f"a command comes before its flags; got {word!r} (kipax --help lists the commands)."
        )
    check_choice("command", word, names)
    return word


def main() -> None:
    """Runs the command named by the first word; without a word, lists the commands."""
    words = sys.argv[1:]
    if not words or words[0] in _HELP:
        print_result(_describe())
        return
    if words[0] == "--version":
        print_result(f"kipax {__version__}")
        return
    try:
        name = _find(words[0])
    except UsageError as error:
        fail(str(error), status=2)
    sys.argv = [f"kipax {name}", *words[1:]]
    importlib.import_module(f"kipax.commands.{name}").main()
