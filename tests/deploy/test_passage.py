from __future__ import annotations

from itertools import pairwise

import pytest
from deploy_toys import text_run
from hypothesis import given
from hypothesis import strategies as st

from genus.deploy import generate
from genus.deploy.passage import grow, settled
from genus.run import Run


@pytest.mark.parametrize(
    ("text", "stops", "sure", "stopped"),
    [
        ("abc", [], "abc", False),
        ("abc\ufffd", [], "abc", False),
        ("a\ufffdb", [], "a\ufffdb", False),
        ("one END two", ["END"], "one ", True),
        ("one EN", ["END"], "one ", False),
        ("one ENE", ["END"], "one EN", False),
        ("xyz", ["z", "yz"], "x", True),
        ("aab", ["aac"], "aab", False),
        ("aa", ["aac", "ab"], "", False),
        ("", ["x"], "", False),
    ],
)
def test_what_may_be_sent(text: str, stops: list[str], sure: str, stopped: bool) -> None:
    assert settled(text, stops) == (sure, stopped)


@given(st.text("abé🌍", max_size=30), st.lists(st.text("ab🌍", min_size=1, max_size=4), max_size=3))
def test_nothing_sent_is_taken_back(text: str, stops: list[str]) -> None:
    """Byte by byte: each beginning extends the last one, no stop string and no part of a character gets out."""
    data = text.encode()
    sure = []
    for n in range(len(data) + 1):
        now, stopped = settled(data[:n].decode(errors="replace"), stops)
        sure.append(now)
        if stopped:
            break
    for earlier, later in pairwise(sure):
        assert later.startswith(earlier)
    assert text.startswith(sure[-1])
    assert not any(stop in sure[-1] for stop in stops)


def test_pieces_make_the_text(tales: Run) -> None:
    knobs = {"tokens": 40}
    whole = generate(tales, "Gr", 8, 2, None, knobs).items
    pieces: dict[int, list[str]] = {i: [] for i in range(8)}
    ends = {}
    for growths in grow(tales.model(), "Gr", 2, range(8), (), knobs):
        for growth in growths:
            pieces[growth.index].append(growth.text)
            if growth.finish:
                ends[growth.index] = growth
    assert ["Gr" + "".join(pieces[i]) for i in range(8)] == whole
    assert set(ends) == set(range(8))
    assert {end.finish for end in ends.values()} == {"stop", "length"}
    for end in ends.values():
        size = len(whole[end.index].encode()) - 2
        assert end.cells == 40 if end.finish == "length" else end.cells == size
    assert max(map(len, pieces.values())) > 10


def test_a_stop_string_ends_the_work(tales: Run) -> None:
    net = tales.model().nets["net"]
    before = net.calls
    for _ in grow(tales.model(), None, 0, [0, 1, 2], ("a", " "), {"tokens": 500}):
        pass
    assert net.calls - before < 100


def test_with_a_prompt_that_is_no_beginning(tmp_path) -> None:  # type: ignore[no-untyped-def]
    run = text_run(tmp_path / "captions", prompt="caption")
    growths = [g for some in grow(run.model(), "a cat", 0, [0], (), {"tokens": 12}) for g in some]
    assert "".join(g.text for g in growths) == generate(run, "a cat", 1, 0, None, {"tokens": 12}).items[0]
