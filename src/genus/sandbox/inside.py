"""What the sandbox's own process runs: a script of the standard library alone, started by `genus.sandbox.run`.

It reads the job from its input, shuts itself in, forks, and lets the child run program and tests; the parent waits and
says how the child ended. Every line that it says begins with the job's secret, so nothing that a program prints or
writes to any descriptor is taken for a verdict. What shuts it in, and what does not, is told in `genus.sandbox`.
"""

from __future__ import annotations

import ast
import builtins
import errno
import importlib
import json
import os
import resource
import signal
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

PROGRAM, TESTS = "<program>", "<tests>"
#: Of <linux/sched.h>: new namespaces of users, network, processes, interprocess communication.
NAMESPACES = 0x10000000 | 0x40000000 | 0x20000000 | 0x08000000
NO_NEW_PRIVILEGES, DIE_WITH_PARENT = 38, 1  # of <linux/prctl.h>
SHOWN = 300  # characters of a value
REFUSED = (
    "socket.",
    "subprocess.",
    "ctypes.",
    "gc.",
    "syslog.",
    "pty.",
    "os.fork",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "os.startfile",
    "os.kill",
    "os.link",
    "os.symlink",
    "os.setxattr",
    "os.removexattr",
    "os.chown",
    "os.chflags",
    "os.pidfd",
    "signal.pthread_kill",
    "resource.",
    "sys.settrace",
    "sys.setprofile",
    "cpython.PyInterpreterState_New",
)
CHANGED = ("os.mkdir", "os.rmdir", "os.remove", "os.rename", "os.truncate", "os.utime", "os.chmod")
#: Modules that reach around the hook.
UNSAFE = frozenset(
    ("ctypes", "_ctypes", "_posixsubprocess", "_xxsubinterpreters", "_interpreters", "_testcapi", "_testinternalcapi")
)
READABLE = ("/dev/null", "/dev/urandom", "/dev/random")


def alone() -> bool:
    """Leave the machine's network, processes and users behind, if the system permits it; whether it did."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return any(libc.unshare(flags) == 0 for flags in (NAMESPACES, NAMESPACES & ~0x10000000))


def bound(job: dict[str, Any]) -> None:
    """Limits that the kernel keeps. A soft limit of processor time ends the process, the hard one if that is caught."""

    def most(what: int, soft: int, hard: int | None = None) -> None:
        ceiling = resource.getrlimit(what)[1]
        values = [v if ceiling == resource.RLIM_INFINITY else min(v, ceiling) for v in (soft, hard or soft)]
        resource.setrlimit(what, (values[0], values[1]))

    seconds = max(1, -int(-job["seconds"] // 1))
    most(resource.RLIMIT_CPU, seconds, seconds + 1)
    most(resource.RLIMIT_AS, job["memory"])
    most(resource.RLIMIT_FSIZE, job["bytes"])
    most(resource.RLIMIT_NOFILE, max(16, job["files"]))
    most(resource.RLIMIT_NPROC, job["processes"])
    most(resource.RLIMIT_CORE, 0)


def guard(job: dict[str, Any], home: str) -> None:
    """Refuse what Python itself is asked to do outside: an audit hook, which no program can take away again."""
    library = os.path.dirname(os.__file__)
    readable = (library + "/", os.path.realpath(library) + "/", "/usr/share/zoneinfo/", *READABLE)
    inside, here, is_folder, is_link = home + "/", os.getcwd, os.path.isdir, os.path.islink
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    create, most, made = os.O_CREAT, job["files"], 0

    def refuse(why: str) -> NoReturn:
        raise PermissionError(errno.EPERM, f"the sandbox refuses {why}")

    def placed(path: Any) -> str:
        """A path from the root. One that climbs is refused, so what a path begins with says where it leads."""
        if type(path) is bytes:
            path = path.decode("utf-8", "surrogateescape")
        if type(path) is not str:
            refuse("a path that is no text")
        whole: str = path if path[:1] == "/" else f"{here()}/{path}"
        if ".." in whole.split("/"):
            refuse(f"the path {path!r}")
        return whole + "/" if whole == home else whole

    def mine(path: Any) -> None:
        if not placed(path).startswith(inside):
            refuse(f"to change {path!r}")

    def one_more() -> None:
        nonlocal made
        made += 1
        if made > most:
            raise OSError(errno.ENOSPC, f"the sandbox has room for {most} files")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if type(path) is int:
                return
            if flags & writes:
                mine(path)
                if flags & create:
                    one_more()
            elif not placed(path).startswith((inside, *readable)) or is_folder(path):
                refuse(f"to read {path!r}")
        elif event == "import":
            if str(args[0]).partition(".")[0] in UNSAFE:
                refuse(f"the module {args[0]}")
        elif event in ("os.listdir", "os.scandir"):
            if args[0] is not None and (type(args[0]) is int or not placed(args[0]).startswith((inside, *readable))):
                refuse(f"to list {args[0]!r}")
        elif event == "os.chdir":
            mine(args[0])
        elif event.startswith(CHANGED):
            paths, folders = (args[:2], args[2:]) if event == "os.rename" else (args[:1], args[-1:])
            if event not in ("os.truncate",) and any(type(f) is int and f >= 0 for f in folders) and len(args) > 2:
                refuse("paths beside an open folder")
            for path in paths:
                mine(path)
            if event == "os.mkdir":
                one_more()
        elif event.startswith(REFUSED):
            refuse(event)

    assert not is_link(home)
    for name in UNSAFE:
        sys.modules.pop(name, None)
    sys.addaudithook(hook)


class Told(ast.NodeTransformer):
    """Asserts of one comparison, made to say what its sides were, and to let no answer decide what it equals."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        """See the class."""
        if not isinstance(node.test, ast.Compare) or len(node.test.ops) != 1:
            return node

        def call(name: str, *args: ast.expr) -> ast.expr:
            return ast.Call(ast.Name(name, ast.Load()), list(args), [])

        sides = (("_genus_left", node.test.left), ("_genus_right", node.test.comparators[0]))
        kept: list[ast.expr] = [ast.NamedExpr(ast.Name(name, ast.Store()), side) for name, side in sides]
        again = [ast.Name(name, ast.Load()) for name, _ in sides]
        if isinstance(node.test.ops[0], ast.Eq):
            node.test = call("_genus_equal", *kept)
        else:
            node.test.left, node.test.comparators = kept[0], kept[1:]
        node.msg = call("_genus_told", *again, node.msg or ast.Constant(None))
        return node


def shown(value: object) -> str:
    """How a value reads, cut short; it may not be able to say."""
    try:
        text = repr(value)
    except Exception as error:
        return f"a {type(value).__name__} that cannot be shown ({type(error).__name__})"
    return text if len(text) <= SHOWN else text[:SHOWN] + " ..."


def told(left: object, right: object, said: object) -> str:
    """What an assertion says when it fails."""
    return f"the left side is {shown(left)}" + (f" ({said})" if isinstance(said, str) and said else "")


def equal(left: object, right: object) -> bool:
    """Whether they are, unless the program made the left one of a kind that says so of itself."""

    def own(value: object) -> bool:
        code = getattr(type(value).__eq__, "__code__", None)
        return code is not None and code.co_filename == PROGRAM

    return bool(left == right) and (own(right) or not own(left))


def failure(error: BaseException, tests: str, program: str) -> str:
    """What went wrong: the test that was run, where in the program, and what was said."""
    places = {TESTS: 0, PROGRAM: 0}
    step = error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if name in places:
            places[name] = step.tb_lineno
        step = step.tb_next
    parts = []
    if places[TESTS]:
        nodes = [n for n in ast.walk(ast.parse(tests)) if isinstance(n, ast.stmt)]
        at = [n for n in nodes if n.lineno <= places[TESTS] <= (n.end_lineno or n.lineno)]
        inner = min(at, key=lambda n: (n.end_lineno or n.lineno) - n.lineno, default=None)
        if inner is not None:
            parts.append((ast.get_source_segment(tests, inner) or "")[: 2 * SHOWN])
    lines = program.splitlines()
    if 0 < places[PROGRAM] <= len(lines):
        parts.append(f"line {places[PROGRAM]}: {lines[places[PROGRAM] - 1].strip()[:SHOWN]}")
    try:
        said = str(error)[: 2 * SHOWN]
    except Exception:
        said = ""
    return "\n".join([*parts, f"{type(error).__name__}: {said}" if said else type(error).__name__])


def judged(job: dict[str, Any]) -> tuple[str, str]:
    """("passed" | "failed" | "out of memory", why) of program and tests."""
    program, tests = job["program"], job["tests"]
    plain = dict(vars(builtins))  # as they were, for the tests: the program may change its own
    try:
        tree = ast.parse(tests)
        names = [n for node in ast.walk(tree) if isinstance(node, ast.Import) for n in (a.name for a in node.names)]
        names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
        known = {name: (module := importlib.import_module(name), dict(vars(module))) for name in names}
        checks = compile(ast.fix_missing_locations(Told().visit(tree)), TESTS, "exec")
        run: Callable[..., None] = exec
        module = types.ModuleType("program")
        sys.modules["program"] = module
        run(compile(program, PROGRAM, "exec"), vars(module))
        for there, before in known.values():
            vars(there).clear()
            vars(there).update(before)
        allowed = set(job["shadows"])
        space = {k: v for k, v in vars(module).items() if k not in plain or k in allowed or k == "__name__"}
        space |= {"__builtins__": plain, "_genus_equal": equal, "_genus_told": told}
        run(checks, space)
    except MemoryError:
        return "out of memory", ""
    except SystemExit as error:
        return "failed", f"the program left before the tests had ended (SystemExit: {shown(error.code)})"
    except BaseException as error:
        return "failed", failure(error, tests, program)
    return "passed", ""


def main() -> None:
    """Read the job, shut in, fork, run, say."""
    job = json.loads(sys.stdin.buffer.read())
    out = os.dup(1)
    empty = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(empty, descriptor)
    # What a program could replace is held here before it runs.
    write, leave, dumps, secret = os.write, os._exit, json.dumps, job.pop("secret")

    def say(**what: Any) -> None:
        write(out, (secret + dumps(what) + "\n").encode())

    apart = alone()
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        say(status=os.waitstatus_to_exitcode(status), cpu=used.ru_utime + used.ru_stime, apart=apart)
        leave(0)
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    bound(job)
    guard(job, os.getcwd())
    outcome, text = judged(job)
    say(outcome=outcome, text=text)
    leave(0)


if __name__ == "__main__":
    main()
