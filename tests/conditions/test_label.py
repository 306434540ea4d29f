"""Labels become vectors; what is missing, dropped or was never seen is told apart."""

import pytest
import torch

from genus.conditions.label import LabelConfig
from genus.core import Choices, Cond, Noise, Roads, Space
from genus.errors import UsageError

SPACE = Space((8, 8), 1)
CONFIG = LabelConfig(width=4, labels=(("ant", 30), ("bee", 10)))


def fitted(*values, **config):
    return LabelConfig(**config).fit(lambda: ({"label": v} for v in values)).labels


@pytest.fixture
def label():
    torch.manual_seed(0)
    return CONFIG.build(SPACE)


def test_each_label_has_its_vector_and_the_null_one_of_its_own(label):
    vectors = label({"label": ["ant", "bee", None, "ant"]}).vector
    assert vectors.shape == (4, 4) and torch.equal(vectors[0], vectors[3]) and not torch.equal(vectors[0], vectors[1])
    assert torch.equal(vectors[2], label.null(1).vector[0]) and label.roads == Roads(vector=4)


def test_dropped_is_null_as_often_as_it_says(label):
    names, noise = ["ant", "bee"] * 500, Noise(5, tuple(range(1000)))
    kept, asked = label({"label": names}, noise).vector, label({"label": names}).vector
    dropped = (kept == label.null(1).vector).all(1)
    assert torch.equal(dropped, noise.child("drop condition").uniform(0) < 0.1) and 60 < int(dropped.sum()) < 140
    assert torch.equal(kept[~dropped], asked[~dropped]) and not torch.equal(kept, asked)
    assert torch.equal(label({"label": names[7:8]}, noise.part(7, 8)).vector[0], kept[7])  # whatever the batch


def test_it_tells_its_values_apart(label):
    assert isinstance(label, Choices) and label.every().vector.shape == (2, 4)
    assert label.chosen({"label": ["bee", None, "ant"]}).tolist() == [1, -1, 0]
    assert torch.equal(label.every().vector[[1, 0]], label({"label": ["bee", "ant"]}).vector)


def test_what_it_cannot_answer(label):
    with pytest.raises(UsageError, match=r"'cow' is not a label of the training data; it has: ant, bee"):
        label({"label": ["cow"]})
    with pytest.raises(UsageError, match=r"asked by 'label'; given: caption"):
        label({"caption": ["x"]})


def test_labels_are_counted():
    assert fitted("b", "a", None, "b") == (("a", 1), ("b", 2))
    assert fitted(1, 2) == (("1", 1), ("2", 1))
    assert fitted("a", "a") == () and fitted(None) == () and fitted() == ()  # nothing to tell apart
    assert fitted("a", "b", "c", most=2) == ()
    assert LabelConfig(labels=(("x", 1), ("y", 1))).fit(lambda: iter(())).labels == (("x", 1), ("y", 1))


def test_without_labels_there_is_no_road():
    label = LabelConfig(labels=()).build(SPACE)
    assert label.roads == Roads() and label({"label": ["x"]}) == Cond() and label.null(3) == Cond()
    assert label.draw(Noise(0), {}) == {} and not list(label.parameters())


def test_drawn_as_often_as_seen(label):
    noise = Noise(3, tuple(range(2000)))
    drawn = label.draw(noise, {})["label"]
    assert abs(drawn.count("ant") / 2000 - 0.75) < 0.03
    assert label.draw(noise.of([7]), {})["label"] == [drawn[7]]
    assert label.draw(noise, {"label": ["ant"]}) == {"label": ["ant"]}  # nothing is added to what was asked


def test_a_label_that_training_never_saw_is_left_out_of_held_out_data():
    fields = {"label": "cow", "other": 1}
    assert CONFIG.admit(fields) == {"label": None, "other": 1}
    assert CONFIG.admit({"label": "ant"}) == {"label": "ant"} and CONFIG.admit({"label": None}) == {"label": None}
    assert LabelConfig(labels=()).admit(fields) == fields


def test_through_json(label):
    again = LabelConfig.model_validate(CONFIG.model_dump(mode="json")).build(SPACE)
    again.load_state_dict(label.state_dict())
    assert torch.equal(again.null(1).vector, label.null(1).vector)
