"""What a caption brings to mind: by rare words, never itself, beside x; kept with the weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from genus.codecs.pixels import PixelsConfig
from genus.conditions.label import LabelConfig
from genus.conditions.neighbours import Index, NeighboursConfig
from genus.conditions.text import TextConfig
from genus.core import Batch, Model, Noise, Space
from genus.errors import UsageError
from genus.networks.transformer import TransformerConfig
from genus.objectives.flow import Flow
from genus.samplers.ode import Ode

SPACE = Space((4, 4), 3)
CAPTIONS = ["crossed swords", "crossed axes", "broken swords", "a bear", "a bear head"]
INSIDE = TextConfig(encoder=TransformerConfig(depth=1, width=32, head=16), width=24, dropout=0.5)


def items():
    """Each caption's item is one number everywhere: its place."""
    x = torch.arange(len(CAPTIONS)).float()[:, None, None, None].expand(-1, *SPACE.shape)
    for part in (slice(0, 2), slice(2, None)):
        said = CAPTIONS[part]
        yield Batch(x[part], fields={"caption": said, "label": [None] * len(said)}, ids=said)


@pytest.fixture
def neighbours():
    rows = [{"caption": c, "label": None} for c in CAPTIONS]
    torch.manual_seed(0)
    made = NeighboursConfig(inside=INSIDE, count=2).fit(lambda: iter(rows)).build(SPACE)
    made.keep(items())
    return made.eval()


def asked(made, *captions, noise=None):
    with torch.no_grad():
        return made({"caption": list(captions)}, noise)


def values(made, caption):
    """Of the items that a caption brings to mind."""
    return [int(made.bank[at, 0, 0, 0]) for at, _ in made.found(caption)]


def test_the_nearest_share_rare_words():
    index = Index(CAPTIONS)
    assert {CAPTIONS[i] for i, _ in index.nearest("broken axes", 2)} == {"broken swords", "crossed axes"}
    found = index.nearest("Swords, crossed!", 5)
    assert CAPTIONS[found[0][0]] == "crossed swords" and found[0][1] == pytest.approx(1)
    assert {CAPTIONS[i] for i, _ in found[1:]} == {"crossed axes", "broken swords"}
    assert CAPTIONS[index.nearest("bear claws", 1)[0][0]] == "a bear"  # the shorter caption is the nearer one
    assert index.nearest("nothing of it", 5) == []


def test_none_finds_itself(neighbours):
    for i, caption in enumerate(CAPTIONS):
        assert i not in values(neighbours, caption)
    assert values(neighbours, "a bear") == [4] and set(values(neighbours, "crossed swords")) == {1, 2}


def test_what_is_found_lies_on_the_grid_and_how_alike_it_is(neighbours):
    """Items are one number each, their mean is 2: two are alike (1), opposite (-1) or nothing to each other (0)."""
    grid = asked(neighbours, "bear claws", "broken axes", "unheard of", None).grid
    assert grid.shape == (4, 2 * 4, 4, 4) and neighbours.roads.grid == 8
    first, second = grid[:, :4], grid[:, 4:]
    assert (first[0, :3] == 3).all() and (second[0, :3] == 4).all()  # a bear, then the head of one
    assert {float(first[1, 0, 0, 0]), float(second[1, 0, 0, 0])} == {1, 2}
    # Usually: swords and axes (0, 1) find each other, broken ones (2) crossed ones, bears (3, 4) each other.
    assert (first[0, 3] == neighbours.looked().usual[0]).all() and neighbours.looked().usual[0] == pytest.approx(1)
    assert (grid[2:] == 0).all()


def test_in_training_it_is_said_how_alike_they_are(neighbours):
    noise = Noise(1, tuple(range(200)))
    told = neighbours.taught(["a bear", "crossed swords"] * 100, noise).view(200, 2, 4, 4, 4)
    whole = told[:, 0, :3].flatten(2).std(-1).amax(1) == 0  # nothing was laid over it
    assert 0.2 < float(whole.float().mean()) < 0.6
    assert (told[whole][:, 0, 3] != 0).any()
    for row, one in enumerate(told[:, 0]):
        own = 3 if row % 2 == 0 else 0
        if not whole[row]:
            assert set(one[:3].flatten().tolist()) <= {own, *values(neighbours, CAPTIONS[own])}
            assert (one[:3] == own).any() and (one[:3] != own).any()
        flat = (one[:3] - 2).flatten()
        assert float(one[3, 0, 0]) == pytest.approx(
            float(flat.sum() / flat.norm().clamp_min(1e-6)) / 48**0.5 * (1 if own == 3 else -1), abs=1e-5
        )
    again = neighbours.taught(["crossed swords"], noise.part(7, 8)).view(2, 4, 4, 4)
    assert torch.equal(again, told[7])  # alone as among others


def test_a_likeness_can_be_asked(neighbours):
    fields = neighbours.draw(Noise(0, (0, 1)), {"caption": ["bear claws", "bear paws"]})
    assert fields["likeness"] == [0.7, 0.7]
    fields = neighbours.draw(Noise(0, (0, 1)), {"caption": ["bear claws", None], "likeness": [0.25, 0.5]})
    grid = neighbours(fields).grid
    assert (grid[0, 3] == 0.25).all() and (grid[0, 7] == neighbours.looked().usual[1]).all() and (grid[1] == 0).all()
    fields = neighbours.draw(Noise(0, (0, 1)), {"likeness": [0.25, 0.25]})  # captions are drawn too
    assert set(fields["caption"]) <= set(CAPTIONS) and fields["likeness"] == [0.25, 0.25]
    with pytest.raises(UsageError, match="likeness = 2: choose"):
        neighbours.draw(Noise(0, (0,)), {"caption": ["x"], "likeness": [2]})


def test_it_is_a_knob_of_the_model(neighbours):
    net = TransformerConfig(depth=1, width=32, head=16, causal=False, timed=True).build(SPACE, neighbours.roads)
    nets = torch.nn.ModuleDict({"net": net, "conditioner": neighbours})
    model = Model(PixelsConfig(height=4, width=4, channels=3).load(Path()), SPACE, nets, Flow(), Ode(steps=2))
    knobs = {"likeness": 0.25, "steps": 3}
    for asked_of, said in ((knobs, 0.25), ({}, 0.7)):
        _, sampler, cond = model.ready(Noise(0, (0, 1)), {"caption": ["bear claws"] * 2}, None, asked_of)
        assert (cond.grid[:, 3] == said).all() and sampler.steps == asked_of.get("steps", 2)
    assert knobs == {"likeness": 0.25, "steps": 3}
    neighbours.knob = None
    with pytest.raises(UsageError, match="likeness"):
        model.ready(Noise(0, (0,)), {"caption": ["bear claws"]}, None, {"likeness": 0.25})


def test_what_is_dropped_inside_is_dropped_beside(neighbours):
    noise = Noise(0, tuple(range(64)))
    cond = asked(neighbours, *["a bear"] * 64, noise=noise)
    null = neighbours.null(64)
    given = (cond.grid != 0).flatten(1).any(1)
    assert 16 < int(given.sum()) < 48
    assert torch.equal(given, (cond.vector != null.vector).any(1))
    assert (null.grid == 0).all()


def test_guidance_joins_it_with_the_null(neighbours):
    cond = asked(neighbours, "a bear", "crossed axes")
    both = cond.join(neighbours.null(2))
    assert both.grid.shape[0] == both.tokens.shape[0] == 4


def test_it_is_kept_with_the_weights(neighbours):
    config = NeighboursConfig(inside=INSIDE, count=2).fit(lambda: iter([{"caption": c} for c in CAPTIONS]))
    again = NeighboursConfig.model_validate_json(config.model_dump_json()).build(SPACE).eval()
    again.load_state_dict(neighbours.state_dict())
    one, other = (asked(made, "bear swords", "crossed") for made in (neighbours, again))
    assert torch.equal(one.grid, other.grid) and torch.equal(one.tokens, other.tokens)


def test_only_so_many_are_kept():
    rows = [{"caption": f"word {i}"} for i in range(50)]
    config = NeighboursConfig(inside=INSIDE, most=20).fit(lambda: iter(rows))
    assert len(config.captions) == 20 and config.fit(lambda: iter([])) is config
    assert set(config.captions) <= {row["caption"] for row in rows}


def test_data_that_says_nothing_gives_no_road():
    made = NeighboursConfig(inside=INSIDE).fit(lambda: iter([{"caption": None}, {"caption": "one"}])).build(SPACE)
    made.keep(items())
    assert not made.takes and made({"caption": [None]}).empty and made.null(2).empty


def test_ids_cannot_lie_beside_x():
    with pytest.raises(UsageError, match="items of numbers"):
        NeighboursConfig(inside=LabelConfig(), captions=("a", "b")).build(Space((4,), 1, 10))


def test_what_is_found_does_not_depend_on_the_order_of_sets():
    """Python orders a set of words anew in each process; the sum of their weights must not move by it."""
    words = [f"word{i}" for i in range(40)]
    texts = [" ".join(words[i : i + 1 + i % 11]) for i in range(30)]
    code = f"from genus.conditions.neighbours import Index; print(Index({texts!r}).norms)"

    def norms(seed):
        env = {**os.environ, "PYTHONHASHSEED": str(seed)}
        return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout

    assert norms(1) == norms(2) == norms(3)
