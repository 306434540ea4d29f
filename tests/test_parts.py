"""A configuration through JSON is itself; what cannot be one is said in a sentence, and nothing is executed."""

import contextlib
import json
import sys
from typing import Literal

import pytest
import toys
from hypothesis import example, given, settings
from hypothesis import strategies as st

from genus.codecs.bytes import BytesConfig
from genus.core import CodecConfig
from genus.errors import UsageError
from genus.parts import Any_, Part, parse
from genus.recipe import Phase, Recipe, Training
from genus.recipes import find, names


class Leaf(Part):
    kind: Literal["train.test_leaf"] = "train.test_leaf"
    rate: float = 1.0


class Tree(Part):
    kind: Literal["train.test_tree"] = "train.test_tree"
    leaf: Any_[Part] = Leaf()
    leaves: tuple[Any_[Part], ...] = ()


@pytest.mark.parametrize("make", [toys.text_phase, toys.image_phase])
def test_a_recipe_through_json_is_itself(make):
    recipe = toys.recipe(make())
    assert Recipe.model_validate(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe


@pytest.mark.parametrize("name", names())
def test_every_part_of_a_recipe_is_found_by_its_kind_alone(name, monkeypatch):
    """As in a new process that reads a run's folder: nothing is known but what the kind leads to."""
    data = json.loads(json.dumps(find(name).model_dump(mode="json")))
    for kind, part in list(Part.known.items()):
        if part.__module__.startswith("genus.") and part.__module__ != "genus.recipe":
            monkeypatch.delitem(Part.known, kind)
            monkeypatch.delitem(sys.modules, part.__module__, raising=False)
    Recipe.model_validate(data)


def test_a_field_keeps_the_class_it_was_given():
    tree = Tree(leaf=Leaf(rate=3), leaves=(Leaf(rate=4),))
    stored = tree.model_dump(mode="json")
    assert stored["leaf"] == {"kind": "train.test_leaf", "rate": 3.0}
    assert Tree.model_validate(stored) == tree and parse(stored) == tree


def test_what_has_no_kind_is_left_alone():
    assert parse({"rate": 1}) == {"rate": 1} and parse(3) == 3 and parse(None) is None


def test_a_kind_alone_is_the_part_as_it_comes():
    assert Tree.model_validate({"leaf": "train.test_leaf"}) == Tree() and parse("codecs.bytes") == BytesConfig()
    assert parse("fast") == "fast"
    with pytest.raises(UsageError, match=r"no part 'codecs.nothing'"):
        parse("codecs.nothing")


def test_what_a_part_says_of_itself_is_told_as_it_says_it():
    from genus.samplers.ode import Ode

    with pytest.raises(UsageError) as raised:
        Ode().but(eta=0.5)
    said = "samplers.ode: eta = 0.5 draws noise anew in Euler's step; choose method euler, or eta 0"
    assert str(raised.value) == said


EVIL = ["os.system", "../../x", "codecs.bytes; import os", "genus.codecs.bytes", "codecs..bytes", "train.__init__", ""]


@pytest.mark.parametrize(
    "kind", [*EVIL, "codecs.__init__", "builtins.eval", "Codecs.bytes", "codecs.bytes\n", "codecs"]
)
def test_an_evil_kind_imports_nothing(kind):
    before = set(sys.modules)
    with pytest.raises(UsageError, match=r"is not a kind of part"):
        parse({"kind": kind})
    assert set(sys.modules) == before


@pytest.mark.parametrize("kind", [3, None, [], {}, ["codecs.bytes"]])
def test_a_kind_that_is_no_word(kind):
    with pytest.raises(UsageError, match=r"is not a kind of part"):
        parse({"kind": kind})


@pytest.mark.parametrize("kind", ["codecs.nothing", "codecs.bytes.nothing", "codecs.ending", "train.nothing.at"])
def test_an_unknown_kind(kind):
    with pytest.raises(UsageError, match=rf"no part '{kind}'"):
        parse({"kind": kind})


@given(st.text(max_size=30))
@example("samplers.truncation")
@settings(max_examples=200, deadline=None)
def test_no_text_breaks_parse(text):
    """A part or a clear error; hypothesis knows the words of this package and does find parts that need no field."""
    with contextlib.suppress(UsageError):
        assert parse({"kind": text}).kind == text


def test_but_names_what_it_has():
    with pytest.raises(UsageError, match=r"train.test_leaf has no 'rat', 'x'; it has: rate"):
        Leaf().but(rat=1, x=2)
    with pytest.raises(UsageError, match=r"rate = 'fast': input should be a valid number"):
        Leaf().but(rate="fast")
    assert Leaf().but(rate=2).rate == 2 and Leaf().rate == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_are_finite(value):
    with pytest.raises(UsageError, match=r"finite number"):
        Leaf().but(rate=value)


def test_a_part_of_another_room_is_refused():
    phase = toys.text_phase()
    for wrong in (phase.objective, Leaf(), phase.training.model_dump(), 3, None):
        with pytest.raises(UsageError, match=r"codec"):
            phase.but(codec=wrong)


def test_unknown_fields_are_errors():
    with pytest.raises(UsageError, match=r"surplus"):
        parse({"kind": "train.test_leaf", "surplus": 1})


def test_frozen_and_equal():
    assert hash(Training()) == hash(Training()) and Training() == Training()
    with pytest.raises(ValueError, match=r"frozen"):
        Training().rate = 3


def test_two_parts_of_one_kind_cannot_be():
    with pytest.raises(TypeError, match=r"two parts call themselves 'codecs.bytes'"):

        class Other(CodecConfig):
            kind: Literal["codecs.bytes"] = "codecs.bytes"

    assert Part.known["codecs.bytes"] is BytesConfig


@pytest.mark.parametrize("seed", [-1, 2**63, 10**30, 1.5])
def test_seeds_that_no_generator_takes(seed):
    with pytest.raises(UsageError, match=r"seed"):
        Training().but(seed=seed)


def test_a_phase_has_a_plain_name():
    with pytest.raises(UsageError, match=r"name"):
        toys.text_phase().but(name="../x")
    assert isinstance(toys.text_phase(), Phase)
