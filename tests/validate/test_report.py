from __future__ import annotations

import json
import re

import pytest
from validate_toys import Silent, Toy, Uniform, drawing, prose, recipe, run

from genus import files
from genus.codecs.bytes import Bytes
from genus.codecs.pixels import Pixels
from genus.data.packed import PackedConfig
from genus.data.stacked import StackedConfig
from genus.errors import UsageError
from genus.validate import validate
from genus.validate.charts import Bar, Line, bars, curves, ticks
from genus.validate.fidelity import Fidelity
from genus.validate.gate import Gate
from genus.validate.likelihood import Likelihood
from genus.validate.memorisation import Nearest, Verbatim
from genus.validate.samples import Samples

NAMES = ["name", "value", "low", "high", "unit", "better", "split"]


@pytest.fixture
def tales(tmp_path):
    splits = {"train": [prose(i) for i in range(40)], "test": [prose(900 + i) for i in range(8)]}
    measures = (Likelihood(primed=0), Verbatim(samples=10), Samples())
    model = Toy(lambda i: f"<script>alert({i})</script>" + prose(i), Bytes(), Uniform(257))
    return run(tmp_path, model, PackedConfig(window=64), "text", splits, recipe(*measures, gate=Gate()))


def test_report_json_has_the_names_that_scripts_rely_on(tales):
    report = validate(tales)
    said = json.loads((tales.path / "report.json").read_text())
    assert said == report.json()
    for finding in (*said["metrics"], *said["baselines"]):
        assert list(finding) == NAMES
        assert finding["better"] in ("lower", "higher")
    assert {f["name"] for f in said["metrics"]} == {"bits_per_byte", "copies", "longest_copy"}
    assert said["gate"]["passed"] is False
    assert said["budget"] == {"asked_s": 60.0, "forecast_s": 58.0, "used_s": 61.0}
    assert said["energy"] == {"kwh": 0.0011, "method": "assumed 40 W"}
    assert said["weights_sha256"] == files.sha256(tales.path / "model.safetensors")


def test_a_model_that_loses_to_counting_is_refused_and_says_why(tales):
    report = validate(tales)
    assert not report.passed
    assert any("n-gram" in reason for reason in report.reasons)
    assert "Not fit to be deployed" in (tales.path / "report.html").read_text()


def test_the_page_stands_alone_and_trusts_no_data(tales):
    validate(tales)
    page = (tales.path / "report.html").read_text()
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!data:)|url\(|@import|https?://", page)
    assert "prefers-color-scheme: dark" in page
    for part in ("Bits per byte", "Samples", "Training", "truncated &lt;b&gt;file&lt;/b&gt;", "CC0-1.0", "+5% of the"):
        assert part in page, part


def test_what_training_logged_besides_stands_in_both(tales):
    """Of the last phase, the mean over the end of it; no loss, rate or clock."""
    row = {"phase": "pretrain", "seconds": 1.0, "split": "train", "loss": 2.0, "norm": 1.0, "rate": 0.1}
    rows = [{**row, "step": i, "dropped": 0.5 if i < 18 else 0.25, "strange <b>": 1.0} for i in range(20)]
    rows = [{**rows[0], "phase": "earlier", "other": 1.0}, *rows, {**row, "step": 20, "split": "val"}]
    tales.metrics = lambda: rows
    assert validate(tales).json()["training"] == {"dropped": 0.25, "strange <b>": 1.0}
    page = (tales.path / "report.html").read_text()
    assert "share of questions dropped in training" in page and "strange &lt;b&gt;" in page


def test_pictures_end_in_one_page_too(tmp_path):
    splits = {"train": [drawing(i) for i in range(60)], "test": [drawing(900 + i) for i in range(30)]}
    measures = (Likelihood(), Fidelity(), Nearest(shown=1), Samples(pictures=20))
    toy = Toy(lambda i: drawing(5000 + i), Pixels(12, 12, 1), Silent())
    made = run(tmp_path, toy, StackedConfig(), "image", splits, recipe(*measures, gate=Gate()))
    report = validate(made, samples=30)
    assert report.passed, report.reasons
    assert report["gap_closed"].value > 0.5
    page = (made.path / "report.html").read_text()
    assert page.count("data:image/png;base64,") > 30
    assert "toys only draw" in page
    with pytest.raises(UsageError, match="gap_closed"):
        report["nothing"]


def test_validating_again_says_the_same(tales):
    one, two = validate(tales), validate(tales)
    assert one.result == two.result


def test_nothing_held_out_is_refused(tmp_path):
    toy = run(tmp_path, None, None, "text", {"train": ["a b c"]}, recipe(gate=Gate()))
    with pytest.raises(UsageError, match="holds nothing out"):
        validate(toy)


def test_charts_survive_what_is_not_a_number():
    nan = float("nan")
    assert "–" in bars([Bar("a", nan, None, None), Bar("b", 1.0, nan, nan)])
    assert curves([], "x", "y") == ""
    assert "polyline" in curves([Line("a", [1], [2.0], "val")], "x", "y")
    assert ticks(0.0, 1.0) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    for k in range(200):  # one mark would tell no scale
        for about in (4, 5, 6):
            assert 2 <= len(ticks(410.0, 410.0 * 1.02 ** (k + 1), about)) <= 2 * about
