"""Code: text that a machine reads. Told from prose by its name and its lines together.

A file named like code is code unless its lines are plainly sentences; any other text is code only if its lines plainly
are. Not here: the language of a program, or whether it is good (`genus.clean`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath

from genus.media import text

#: Suffixes of programming, markup and configuration languages (after GitHub's linguist, the common ones).
_SUFFIXES = """
ada adb ads asm awk bash bat bzl c cc cfg clj cljs cmake cmd coffee conf cpp cr cs css cu cuh cxx d dart el
elm erl ex exs f f03 f90 f95 for fs fsx gd glsl go gradle graphql groovy h hcl hh hpp hs htm html hx hxx idr
ini ipynb java jl js json json5 jsonc jsx kt kts less lisp lua m mak mjs cjs mk ml mli mm nim nix pas php pl
pm proto ps1 pxd py pyi pyw pyx qml r rb re rkt rs sass scala scm scss sh sol sql styl svelte svg swift tcl tf
toml ts tsx v vb vert vhd vhdl vim vue wat wgsl xml xsl yaml yml zig zsh
"""
SUFFIXES = frozenset(_SUFFIXES.split())
NAMES = frozenset(("makefile", "dockerfile", "rakefile", "gemfile", "cmakelists.txt", "jenkinsfile", "build.bazel"))
#: Suffixes of prose: for these the lines must be code almost throughout.
PROSE = frozenset(("txt", "text", "md", "markdown", "rst", "tex", "log", "adoc", "org", "srt"))

_CODE = re.compile(
    r"""^\s*(
        (from\s+[\w.]+\s+)?import\s+[\w.{*]          | \#\s*(include|define|ifdef|ifndef|endif|pragma)\b
      | (async\s+)?(def|fn|func|function)\s+\w+.*[({:]
      | (pub|public|private|protected|static|final|abstract|export)\s+\w+
      | class\s+\w+.*[:{(]\s*$                        | (const|let|var|val)\s+[\w{\[].*=
      | (if|elif|for|while|switch|with|match)\b.*[:{]\s*$ | (else|try|finally|do)\s*[:{]\s*$
      | (return|yield|raise|throw|assert|await)\b.*[^.!?]$ | @\w+
      | (struct|enum|impl|namespace|package|using|use)\s+[\w:]+
      | [\w.\[\]'"]+\s*([-+*/|&]?=|:=)\s*\S           | [}\])]+[;,]?\s*$ | </?[a-zA-Z][\w-]*(\s[^<]*)?/?>
      | [\w.]+\(.*\)\s*[;:]?\s*$                      | .*[;{]\s*$ | ("[\w-]+"|[\w-]+)\s*:\s*[\[{"]
      | (SELECT|INSERT|CREATE|ALTER|DROP|UPDATE)\s
    )""",
    re.VERBOSE,
)
_PROSE = re.compile(r"^[^<>{};=\\|]*\w[,;:]?\s+\w+[,;:]?\s+\w+[,;:]?\s+\w[^<>{}=\\|]*$")
_COMMENT = re.compile(r"^\s*(#|//|/\*|\*|--|;|%|\"\"\"|''')")


def claims(head: bytes, name: str) -> bool:
    """Whether this text is code."""
    if text.binary(head):
        return False
    base = PurePosixPath(name.rsplit("!", 1)[-1]).name.lower()
    suffix = base.rsplit(".", 1)[-1] if "." in base else ""
    named = suffix in SUFFIXES or base in NAMES
    said = head.decode("utf-8", "replace")
    lines = [line for line in said.splitlines() if line.strip()]
    # The beginnings of about a hundred lines tell, taken from all over: a file may open with a long comment.
    lines = [line[:200] for line in lines[:: 1 + len(lines) // 100]]
    if not lines:
        return named
    if lines[0].startswith("#!/"):
        return True
    code = sum(bool(_CODE.match(line)) for line in lines) / len(lines)
    prose = sum(
        bool(_PROSE.match(line)) and not _CODE.match(line) and not _COMMENT.match(line) for line in lines
    ) / len(lines)
    if named:
        return not (prose > 0.8 and code < 0.05 and len(lines) >= 5)
    # Measured: nameless, 7 in 10 modules of Python's library pass, 1 in 65 documentation files, no play.
    least, most = (0.8, 0.1) if suffix in PROSE else (0.45, 0.25)
    return len(lines) >= 5 and code > least and prose < most


MEDIUM = replace(text.MEDIUM, name="code", suffix=".py", claims=claims)
