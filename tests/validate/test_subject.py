from __future__ import annotations

import numpy as np
from validate_toys import drawing, picture_subject, prose, text_subject


def test_samples_are_drawn_once_and_shared():
    subject = text_subject(lambda i: f"s{i}", ["a"], ["b"], batch=4, most=9)
    assert subject.samples(3) == ["s0", "s1", "s2"]
    assert subject.samples(20) == [f"s{i}" for i in range(9)]
    drawn = [i for samples, _ in subject.model.asked for i in samples]
    assert drawn == list(range(9))


def test_a_conditional_model_is_asked_for_what_the_held_out_items_are():
    subject = text_subject(lambda i: "x", ["a"], ["b", "c"])
    subject.model.conditioner = object()
    subject.samples(5)
    assert subject.model.asked[0][1]["label"] == ["0", "1", "0", "1", "0"]


def test_items_are_chosen_by_id_whatever_their_order():
    texts = [prose(i, 5) for i in range(30)]
    one, two = text_subject(str, texts, ["x"]), text_subject(str, texts, ["x"])
    backwards = list(two.records("train"))[::-1]
    object.__setattr__(two, "records", lambda split: iter(backwards))
    assert [r.id for r in one.trained(7)] == [r.id for r in two.trained(7)]


def test_features_of_items_are_remembered(tmp_path, monkeypatch):
    pictures = [drawing(i) for i in range(6)]
    first = picture_subject(drawing, pictures, pictures[:2], home=tmp_path, key="d").item_features("train", 6)
    monkeypatch.setattr("genus.validate.subject.features", lambda *a, **k: 1 / 0)
    again = picture_subject(drawing, pictures, pictures[:2], home=tmp_path, key="d").item_features("train", 6)
    assert np.array_equal(first, again)


def test_pictures_are_seen_at_the_size_of_the_model():
    subject = picture_subject(drawing, [drawing(0)], [drawing(1, 30)])
    assert [p.shape for p in subject.seen([*subject.trained(1), *subject.held_out(1)])] == [(12, 12, 1)] * 2
