"""What a program may try, and what its verdict must then be."""

import sys
from pathlib import Path

import pytest

from genus import sandbox
from genus.errors import UsageError
from genus.sandbox import Job, Limits, run, run_all

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the sandbox is made of limits of Linux and macOS")

GOOD = "def f(x):\n    return x + 1\n"
TEST = "assert f(1) == 2"
LIMITS = Limits(seconds=2, wall=60)


def test_what_is_right_passes_and_what_is_wrong_tells_the_test_that_failed():
    right, wrong, broken, torn = run_all(
        [
            Job(GOOD, TEST),
            Job(
                "def f(x):\n    return x", "def check(g):\n    assert g(0) == 0\n    assert g(1) == 2, 'odd'\ncheck(f)"
            ),
            Job("def f(x):\n    return 1 / 0", TEST),
            Job("def f(:", TEST),
        ],
        LIMITS,
    )
    assert right.passed and right.outcome == "passed" and right.text == ""
    assert wrong.outcome == broken.outcome == torn.outcome == "failed"
    assert wrong.text == "assert g(1) == 2, 'odd'\nAssertionError: the left side is 1 (odd)"
    assert broken.text.splitlines()[:2] == [TEST, "line 2: return 1 / 0"] and "ZeroDivisionError" in broken.text
    assert "SyntaxError" in torn.text


@pytest.mark.parametrize(
    "program",
    [
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "raise SystemExit",
        "raise KeyboardInterrupt",
        "def f(x):\n    import os; os._exit(0)",
        "def f(x):\n    import sys; sys.exit(0)",
        "import os, signal; signal.raise_signal(9)",
        # What the process says is known by a secret: a guess of it is none.
        'import os\nfor i in range(64):\n    try: os.write(i, b\'{"outcome": "passed"}\\n\')\n'
        "    except OSError: pass\n"
        "os._exit(0)",
        "import builtins\nbuiltins.AssertionError = ValueError",
        "import builtins, os\nbuiltins.exec = builtins.compile = lambda *a: None\nos._exit = os.write = print",
        "import builtins\nbuiltins.abs = lambda x: 2\ndef f(x): return 3",
        "def abs(x): return 2\ndef f(x): return 3",
        "import math\nmath.isclose = lambda *a, **k: True\ndef f(x): return 3",
        "class Any:\n    def __eq__(self, other): return True\n    def __abs__(self): return self\n"
        "def f(x): return Any()",
        "def check(g): pass",
        "import sys\ndef f(x):\n    sys.settrace(lambda *a: None)\n    return 3",
    ],
)
def test_no_way_out_counts_as_a_pass(program):
    tests = "import math\ndef check(g):\n    assert abs(g(1)) == 2\n    assert math.isclose(g(1), 2)\ncheck(f)"
    assert run(program, tests, LIMITS).outcome == "failed"


def test_a_function_may_be_called_as_a_builtin_is_if_the_tests_are_of_it():
    program = "def sum(a, b):\n    return a * b\n"
    assert run(program, "assert sum(2, 3) == 6", LIMITS, shadows=("sum",)).passed
    assert not run(program, "assert sum(2, 3) == 6", LIMITS).passed


def test_time_is_limited_by_the_clock_and_by_the_processor():
    endless, asleep, stubborn = run_all(
        [
            Job("while True: pass", TEST),
            Job("import time; time.sleep(99)", TEST),
            Job("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: print('x' * 10**6)", TEST),
        ],
        Limits(seconds=1, wall=2),
        workers=3,
    )
    assert {v.outcome for v in (endless, asleep, stubborn)} == {"timed out"}
    assert asleep.text == "2 seconds by the clock"


def test_memory_is_limited():
    whole, creeping = run_all([Job("x = [0] * 10**9", TEST), Job("x = []\nwhile True: x += x or [0]", TEST)], LIMITS)
    assert whole.outcome == creeping.outcome == "out of memory"
    assert whole.text == "512 MB"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os\nwhile True: os.fork()", "os.fork"),
        ("import os\nos.system('true')", "os.system"),
        ("import os\nos.execv('/bin/true', ['true'])", "os.exec"),
        ("import os\nos.kill(os.getppid(), 9)", "os.kill"),
        ("import subprocess", "_posixsubprocess"),
        ("import ctypes", "ctypes"),
        ("import socket\nsocket.socket()", "socket"),
        ("import socket\nsocket.getaddrinfo('localhost', 80)", "socket"),
        ("import os\nos.open('.', os.O_RDONLY)", "to read"),
        ("open('../outside', 'w')", "the path"),
        ("import os\nos.symlink('/', 'root')", "os.symlink"),
        ("import os\nos.chdir('/')", "to change"),
        ("open('x', 'w').write('x' * (2 << 20))", "File too large"),
        ("for i in range(99): open(str(i), 'w').close()", "room for 32 files"),
        ("import os\nfor i in range(99): os.mkdir(str(i))", "room for 32 files"),
    ],
)
def test_what_it_may_not_do_is_refused(program, said):
    verdict = run(program, TEST, LIMITS)
    assert verdict.outcome == "failed" and said in verdict.text, verdict


def test_files_outside_are_neither_read_nor_written(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("here")
    for program in (
        f"open({str(secret)!r}).read()",
        f"open({str(tmp_path / 'new')!r}, 'w')",
        f"import os\nos.remove({str(secret)!r})",
        f"import os\nos.rename({str(secret)!r}, 'mine')",
        f"import os\nos.listdir({str(tmp_path)!r})",
        f"import os\nos.listdir({str(Path.home())!r})",
        f"class Path(str):\n    def startswith(self, *a): return True\nopen(Path({str(secret)!r})).read()",
    ):
        verdict = run(program + "\n" + GOOD, TEST, LIMITS)
        assert verdict.outcome == "failed" and "the sandbox refuses" in verdict.text, (program, verdict)
    assert [p.name for p in tmp_path.iterdir()] == ["secret"] and secret.read_text() == "here"


def test_it_has_a_folder_of_its_own_and_knows_nothing_of_ours(monkeypatch):
    monkeypatch.setenv("GENUS_SECRET", "here")
    program = (
        "import os, sys, tempfile, json, re, dataclasses, collections, itertools, heapq, datetime, random\n"
        "assert os.listdir() == [] and 'GENUS_SECRET' not in os.environ and sys.stdin.read() == ''\n"
        "open('a', 'w').write('b')\nassert open('a').read() == 'b' and os.listdir() == ['a']\n"
        "with tempfile.TemporaryFile() as file: file.write(b'c')\n"
        "@dataclasses.dataclass\nclass Point:\n    x: int = 0\n"
    )
    verdict = run(program + GOOD, TEST, LIMITS)
    assert verdict.passed, verdict


def test_a_flood_of_output_is_not_kept():
    assert run("import os\nprint('x' * 10**7)\nos.write(1, b'x' * 10**6)\n" + GOOD, TEST, LIMITS).passed


def test_the_shelter_is_told_and_tests_that_test_nothing_are_refused():
    verdict = run(GOOD, TEST, LIMITS)
    assert ("namespaces of their own" in sandbox.shelter()) == verdict.apart
    with pytest.raises(UsageError, match="no tests"):
        run(GOOD, " \n")
