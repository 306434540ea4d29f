"""How the process ends: 0 done, 1 failed, 2 asked wrongly, 130 stopped; what went wrong in one line."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, NoReturn

import typer

from genus.cli.lines import show
from genus.errors import GenusError

#: What the parser raises: its own exception class, whichever copy of click this version of typer stands on.
ASKED_WRONGLY: Any = typer.BadParameter.__mro__[2]


def run(app: typer.Typer) -> NoReturn:
    """The verb that was asked for, and the end of the process: errors as one line, without a traceback."""
    wants_json = "--json" in sys.argv
    for stream in (sys.stdout, sys.stderr):  # a name that is not UTF-8 is shown with escapes, which JSON reads too
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
        if code == 130:  # Ctrl-C, as typer tells it
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except GenusError as error:
        _end(str(error), error.exit_code, wants_json)
    except (typer.Abort, KeyboardInterrupt):
        _end("stopped", 130, wants_json)
    except BrokenPipeError:  # whoever read us has gone: nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # the disk, the rights, the network: not ours, and no traceback mends it
        _end(f"{error.filename or 'the system'}: {error.strerror or error}", 1, wants_json)
    except ASKED_WRONGLY as error:
        if wants_json:
            show({"error": error.format_message()})
        error.show()
        sys.exit(error.exit_code)


def _end(message: str, code: int, wants_json: bool) -> NoReturn:
    if wants_json:
        show({"error": message})
    print(f"genus: {message}", file=sys.stderr)
    sys.exit(code)
