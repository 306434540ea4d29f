"""Several recipes on the same data: tiny ones for real, resumed, with failures; the rules of the claims; the page."""

import json
import re
import signal
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
import torch
import toys
from PIL import Image

from genus import compare, files
from genus.about import everything
from genus.codecs.pixels import Pixels
from genus.compare import claims, drawing, page, rows, stage
from genus.compare.plots import Point, Series, decades, plot
from genus.compare.work import Job, Told, apart, done, ending, seeded
from genus.core import Noise
from genus.errors import GenusError, UsageError
from genus.recipes import find
from genus.run import assemble
from genus.train import checkpoint
from genus.train.loop import Interrupted
from genus.validate import features

KEYS = ("recall", "precision", "coverage", "memorised", "samples_per_second", "kwh")
SMALL = [
    "training.compile=no", "training.precision=fp32", "training.batch=8", "training.evaluations=1",
    "measures.fidelity.samples=20", "measures.fidelity.fit=40", "measures.nearest.samples=20",
    "measures.nearest.neighbours=3", "measures.nearest.shown=1", "measures.samples.pictures=2", "sampler.steps=2",
    "net.head=16", "flow:net.widths=[16, 16, 16]",
    "dit:net.width=32", "dit:net.depth=1",
]  # fmt: skip


@pytest.fixture
def quick(monkeypatch):
    """Another feature network, and fewer of everything that is drawn for speed."""
    project = torch.randn(3 * 64, features.WIDTH, generator=torch.Generator().manual_seed(0)) / 8

    def network():
        return lambda x: torch.relu(torch.nn.functional.adaptive_avg_pool2d(x, 8).flatten(1) @ project)

    monkeypatch.setattr(features, "network", network)
    monkeypatch.setattr(drawing, "LADDER", (2, 3))
    monkeypatch.setattr(drawing, "RUNG", 20)
    monkeypatch.setattr(drawing, "PAIRS", 1)
    monkeypatch.setattr(drawing, "ROUNDS", 1)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Edges, light and dark, with a split of their own."""
    place = tmp_path_factory.mktemp("source") / "edges"
    for i, picture in enumerate(toys.pictures(420)):
        folder = place / ("light" if i % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[:, :, 0]).save(folder / f"{i}.png")
    return place


class Counting:
    """Runs in this process; remembers the jobs; ends as it is told to at one of them."""

    def __init__(self, at=None, error=None):
        self.jobs, self.at, self.error = [], at, error

    def __call__(self, job, watch):
        self.jobs.append((job.recipe["name"], "trial" if job.trial else job.seed))
        if self.jobs[-1] == self.at:
            raise self.error
        return done(job, watch)


def compared(source, home, runner, recipes=("flow", "dit"), **more):
    asked = {"budget": "3 steps", "seeds": 1, "home": home, "settings": SMALL, "samples": 20, "runner": runner, **more}
    return compare(source, recipes, **asked)


def test_two_recipes_resumed_and_with_a_failure(source, tmp_path, quick):
    stopped = Counting(("dit", 0), Interrupted("stopped"))
    with pytest.raises(Interrupted):
        compared(source, tmp_path, stopped)
    assert stopped.jobs == [("flow", "trial"), ("dit", "trial"), ("flow", 0), ("dit", 0)]
    folder = tmp_path / "comparisons" / "edges"
    said = files.read_json(folder / "comparison.json")
    assert said["finished"] is False and [row["status"] for row in said["rows"]] == ["done", "waiting"]
    weights = files.sha256(folder / "runs" / "flow-0" / "model.safetensors")

    broken = Counting(("dit", 0), RuntimeError("a kernel <b>broke</b>"))
    made = compared(source, tmp_path, broken)
    assert broken.jobs == [("dit", "trial"), ("dit", 0)] and not made.failed
    assert [row["status"] for row in made.rows] == ["done", "failed"] and made.said["finished"]
    assert made.rows[1]["reasons"] == ["seed 0: RuntimeError: a kernel <b>broke</b>"]
    assert made.rows[1]["recall"] == rows.absent("no run was finished")
    assert "a kernel &lt;b&gt;broke&lt;/b&gt;" in made.page.read_text()

    whole = Counting()
    made = compared(source, tmp_path, whole)
    assert whole.jobs == [("dit", "trial"), ("dit", 0)]
    assert files.sha256(folder / "runs" / "flow-0" / "model.safetensors") == weights
    assert made.said == files.read_json(folder / "comparison.json") == json.loads(json.dumps(made.json()))
    for row, family in zip(made.rows, ("flow", "diffusion"), strict=True):
        assert row["family"] == family and row["seeds"] == [0]
        for key in KEYS:
            assert row[key]["low"] <= row[key]["value"] <= row[key]["high"], key
        assert row["frechet_efficientnet_lite0"]["value"] > 0 and row["parameters"]["value"] > 1000
        assert row["likelihood"]["low"] <= row["likelihood"]["value"] <= row["likelihood"]["high"]
        assert [rung["steps"] for rung in row["ladder"]] == [2, 3] and row["ladder"][0][
            "frechet_efficientnet_lite0"
        ] > 0
    # Two steps by Euler and multistep are two looks, by Heun three.
    assert [row["passes"]["value"] for row in made.rows] == [2, 3] and made.rows[0]["walk"]["value"] >= 1
    assert made.said["baselines"]["recall/real"]["value"] > 0 and made.said["forecast"]["runs"] == 1
    well_formed(made.page.read_text())

    nothing = Counting()
    assert compared(source, tmp_path, nothing).rows == made.rows and nothing.jobs == []
    with pytest.raises(UsageError, match=r"another state of: the budget; choose another --name"):
        compared(source, tmp_path, nothing, budget="4 steps")
    with pytest.raises(UsageError, match=r"another state of: recipe flow; choose another --name"):
        compared(source, tmp_path, nothing, settings=[*SMALL, "flow:training.rate=0.5"])


def test_pictures_that_are_drawn_cell_by_cell_have_no_walk(source, tmp_path, quick):
    settings = [one for one in SMALL if one.startswith(("training", "measures"))]
    made = compared(
        source, tmp_path, Counting(), ["pixelgpt"], settings=[*settings, "net.width=32", "net.depth=1", "net.head=16"]
    )
    (row,) = made.rows
    assert row["status"] == "done" and row["samples_per_second"]["value"] > 0
    assert row["walk"]["value"] is None and "no way between" in row["walk"]["reason"]


def test_a_trial_draws_with_the_size_that_the_budget_will_have(source, tmp_path, quick):
    seen = []

    def trying(job, watch):
        seen.append(done(job, watch))
        raise Interrupted("enough")

    settings = [one for one in SMALL if one.startswith(("training", "measures", "sampler"))]
    law = ["floor=0.1", "a=1000", "alpha=0.5", "b=0.001", "beta=0.5"]  # of weights alone: the most is best
    for i, (best, budget) in enumerate((("b=0.001", "1h"), ("a=0.001", "1h"), ("b=0.001", "9 steps"))):
        sizing = ["sizing.dials=[1,2]", *(f"sizing.{one}" for one in law), f"sizing.{best}"]
        with pytest.raises(Interrupted):
            compared(source, tmp_path / str(i), trying, ["flow"], settings=[*settings, *sizing], budget=budget)
    most, least, asked = (one["parameters"] for one in seen)
    assert least < most / 1.5 and asked not in (least, most)


def test_what_is_refused(source, tmp_path):
    never = Counting()
    for words, said in (
        ({"recipes": ["flow", "gpt"]}, r"gpt cannot learn from image; these can: .*flow"),
        ({"recipes": ["flow", "flow"]}, r"'flow' was named twice"),
        ({"recipes": ["flow", "clip"]}, r"clip draws nothing"),
        ({"recipes": [" "]}, r"no recipe was named"),
        ({"recipes": ["flo"]}, r"did you mean 'flow'"),
        ({"seeds": 0}, r"seeds = 0"),
        ({"samples": 0}, r"samples = 0"),
        ({"budget": "soon"}, r"budget 'soon'"),
        ({"settings": ["gpt:net.width=3"]}, r"'gpt' is none of the recipes compared \(flow, dit\)"),
        ({"settings": ["net.widths=[16, 16, 16]"]}, r"recipe dit: .*no 'widths'.*RECIPE:part\.field"),
        ({"confirm": lambda forecast: False, "runner": lambda job, watch: TRIED}, r"not started, as you said"),
    ):
        with pytest.raises(UsageError, match=said):
            compared(source, tmp_path, **{"runner": never, "settings": (), **words})
    assert never.jobs == []


TRIED = {"parameters": 1000, "seconds_a_step": 1.0, "seconds_per_sample": 0.1, "seconds_per_look": 0.01}


def test_the_forecast_counts_what_is_left(source, tmp_path):
    heard = []

    def asked(forecast):
        heard.append(forecast)
        return False

    def tried(job, watch):
        if job.recipe["name"] == "dit":
            raise GenusError("no such patch")
        return TRIED

    with pytest.raises(UsageError, match="not started"):
        compared(source, tmp_path, tried, seeds=2, budget="100s", samples=50, confirm=asked, settings=())
    (forecast,) = heard
    assert forecast["runs"] == 2 and forecast["training_s"] == 200 and list(forecast["recipes"]) == ["flow"]
    assert forecast["measuring_s"] == pytest.approx(2 * (stage.OWN + 50 * 0.12) + 30)
    made = compared(source, tmp_path, tried, budget="100s", samples=50, recipes=["dit"], settings=(), name="alone")
    assert everything(tmp_path)["comparisons"] == ["alone", "edges"]
    assert made.failed and made.rows[0]["reasons"] == ["seed 0: no such patch"]
    assert "No run was finished" in made.page.read_text()


def test_a_run_in_a_process_of_its_own(tmp_path):
    dataset = toys.dataset(tmp_path / "data", "text", 60)
    settings = [
        "net.depth=1",
        "net.width=32",
        "net.head=16",
        "source.window=16",
        "training.compile=no",
        "codec.vocab=300",
    ]
    settings += [
        "training.evaluations=1",
        "training.precision=fp32",
        "training.batch=4",
        "measures.verbatim.samples=2",
        "sampler.tokens=6",
    ]
    (recipe,) = stage.chosen_recipes(["gpt"], settings)
    where = str(tmp_path / "runs" / "gpt-0")
    job = Job(recipe.model_dump(mode="json"), 0, "200 steps", str(dataset.path), dataset.version, where, 4)

    class Gone(toys.Ear):
        """Ctrl-C, once training goes on."""

        def tick(self, done, total=None, note=""):
            if note.startswith("step"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apart(job, Gone())
    (saved,) = checkpoint.steps(tmp_path / "runs" / "gpt-0" / "checkpoints" / "pretrain")
    assert 0 < saved < 200 and not (tmp_path / "runs" / "gpt-0" / "summary.json").exists()
    ear = toys.Ear()
    found = apart(job, ear)
    assert f"resuming at step {saved}" in ear.said
    assert found["recipe"] == "gpt" and found["makes"] == "text" and len(found["samples"]) == 3
    assert not (tmp_path / "runs" / "gpt-0.log").exists()
    assert found["drawing"]["tokens_per_second"] > 0 and 1 <= found["drawing"]["passes"] <= 6
    row = rows.row({"recipe": "gpt", "family": "autoregression", "about": ""}, [found], {}, 1)
    assert row["likelihood"]["name"] == "bits_per_byte" and row["likelihood"]["exact"] is True
    assert row["recall"] == rows.absent("measured on pictures alone") and row["memorised"]["value"] is not None
    assert claims.as_many([row], [], {})[0] is True


def test_a_process_that_dies_is_a_reason(tmp_path, monkeypatch):
    job = Job({}, 0, "2 steps", "nowhere", 1, str(tmp_path / "runs" / "x-0"), 4)
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(GenusError, match=r"its process ended with exit code 1; what it said stands in .*x-0\.log"):
        apart(job, toys.Ear())
    assert ending(-signal.SIGKILL) == "SIGKILL (as a rule: no memory was left)" and ending(3) == "exit code 3"


def test_lines_are_what_a_watch_heard():
    lines = []
    told = Told(SimpleNamespace(write=lines.append, flush=lambda: None))
    told.stage("train", "x")
    told.tick(1, 2, "n")
    told.tick(2, 2, "too soon")
    told.say("<é>")
    assert [json.loads(line) for line in lines] == [["stage", "train", "x"], ["tick", 1, 2, "n"], ["say", "<é>"]]


def test_seeds_move_every_phase():
    recipe = find("flow")
    assert [p.training.seed for p in seeded(recipe, 3).phases] == [p.training.seed + 3 for p in recipe.phases]
    assert seeded(recipe, 0) == recipe


class TestDrawing:
    def test_between_two_samples(self):
        a, b = Noise(1, (0,)), Noise(1, (1,))
        way = drawing.Between(a, b, (0.0, 0.5, 1.0))
        z = way.normal(0, (1, 200, 200))
        assert len(way) == 3 and torch.equal(z[:1], a.normal(0, (1, 200, 200)))
        assert torch.allclose(z[2:], b.normal(0, (1, 200, 200)), atol=1e-6) and abs(float(z[1].std()) - 1) < 0.02
        assert torch.equal(way.child("x").normal(0, (4,))[:1], a.child("x").normal(0, (4,)))
        with pytest.raises(UsageError, match="no way between"):
            way.gumbel(0, (3,))

    def test_passes_are_counted_and_conditioners_not(self):
        nets = torch.nn.ModuleDict({"net": torch.nn.Identity(), "conditioner": torch.nn.Identity()})
        with drawing.passes(nets) as seen:
            for net in nets.values():
                net(torch.zeros(1))
                net(torch.zeros(1))
        nets["net"](torch.zeros(1))
        assert seen == {"net": 2}

    def test_a_network_that_is_entered_by_its_parts_is_counted_by_its_layers(self):
        net = torch.nn.ModuleDict({"first": torch.nn.Linear(1, 1), "second": torch.nn.Linear(1, 1)})
        with drawing.passes(torch.nn.ModuleDict({"net": net, "critic": torch.nn.Linear(1, 1)})) as seen:
            for _ in range(3):
                net["second"](net["first"](torch.zeros(1)))
        assert seen == {"net": 3}

    @pytest.mark.parametrize("recipe", ["vae", "stylegan"])
    def test_what_draws_in_one_pass_says_so(self, recipe):
        phase = find(recipe).phases[0]
        model = assemble(phase, Pixels(8, 8, 1))
        with drawing.passes(model.nets) as seen:
            model.generate(Noise(0, (0, 1)))
        assert max(seen.values()) == 1

    def test_blur_is_less_sharp(self):
        sharp = toys.pictures(6)
        blurred = [(p // 2 + 64) for p in sharp]
        assert drawing.sharpness(blurred) == pytest.approx(drawing.sharpness(sharp) / 2, rel=0.05)

    def test_the_ladder_stops_in_time(self, monkeypatch):
        monkeypatch.setattr(drawing, "LADDER", (1, 1000))
        sampler = find("gpt").phases[0].sampler
        subject = SimpleNamespace(model=SimpleNamespace(sampler=sampler), batch=50, draw=lambda i, steps: [0] * len(i))
        assert drawing.ladder(subject, 9.0, None) == ([], "samplers.tokens takes no number of steps")
        subject.model.sampler = find("flow").phases[0].sampler
        rungs, said = drawing.ladder(subject, 0.0, None)
        assert [rung["steps"] for rung in rungs] == [1] and said.startswith("1000 steps and more were left out")


# --------------------------------------------------------------------------------------------------------- made rows


def test_one_seed_has_the_interval_of_its_run_and_several_their_least_and_most():
    one, two = rows.spread([0.5], own=(0.4, 0.7)), rows.spread([0.5, 0.7], own=(0.1, 0.9))
    assert (one["low"], one["high"], one["each"]) == (0.4, 0.7, [0.5])
    assert (two["value"], two["low"], two["high"]) == (0.6, 0.5, 0.7)
    assert not rows.apart(one, rows.spread([2.0]))  # of other seeds it says nothing


def made(recipe, family, **numbers):
    """A row of made numbers: lists are seeds."""
    out = {
        "recipe": recipe,
        "family": family,
        "about": "",
        "status": "done",
        "reasons": [],
        "seeds": [0, 1],
        "runs": [],
    }
    out |= {"gate": {"passed": 2, "of": 2, "reasons": []}, "ladder": numbers.pop("ladder", []), "ladder_note": ""}
    for name in rows.ALWAYS:
        out[name] = rows.absent("not made")
    out |= {name: rows.spread(v if isinstance(v, list) else [v, v]) for name, v in numbers.items()}
    return {**out, "likelihood": {**rows.absent("none is made"), "name": None, "exact": None}, "makes": [8, 8, 1]}


def ladder(**rungs):
    return [{"steps": int(s[1:]), "seconds_per_sample": 0.1, "frechet_x": d} for s, d in rungs.items()]


FLOW = {"recall": [0.7, 0.72], "passes": 30.0, "samples_per_second": 10.0, "sharpness": 1.0}
REAL = {"recall/real": rows.spread([0.8]), "coverage/real": rows.spread([0.9])}
RULES = [
    ("one pass", "GANs draw", {"passes": 1.0, "samples_per_second": 500.0}, True),
    ("two passes", "GANs draw", {"passes": 2.0, "samples_per_second": 500.0}, False),
    ("slow", "GANs draw", {"passes": 1.0, "samples_per_second": 5.0}, False),
    ("not counted", "GANs draw", {"samples_per_second": 5.0}, None),
    ("low recall", "GANs miss", {"recall": [0.3, 0.4]}, True),
    ("high recall", "GANs miss", {"recall": [0.8, 0.9]}, False),
    ("ranges that meet", "GANs miss", {"recall": [0.3, 0.75]}, False),
    ("one seed", "GANs miss", {"recall": [0.3]}, None),
    ("no recall", "GANs miss", {}, None),
    ("alike", "Diffusion is stable", {"frechet_x": [10.0, 10.5]}, True),
    ("unlike", "Diffusion is stable", {"frechet_x": [10.0, 20.0]}, False),
    ("one seed", "Diffusion is stable", {"frechet_x": [10.0]}, None),
    ("covers", "Diffusion covers", {"recall": 0.75, "coverage": 0.85}, True),
    ("misses", "Diffusion covers", {"recall": 0.75, "coverage": 0.5}, False),
    ("unknown", "Diffusion covers", {"recall": 0.75}, None),
    ("needs steps", "Diffusion needs", {"ladder": ladder(s4=20.0, s20=10.2, s100=10.0)}, True),
    ("needs no steps", "Diffusion needs", {"ladder": ladder(s4=10.1, s20=10.2, s100=10.0)}, False),
    ("needs more steps", "Diffusion needs", {"ladder": ladder(s4=30.0, s20=20.0, s50=15.0, s100=10.0)}, False),
    ("too few rungs", "Diffusion needs", {"ladder": ladder(s4=30.0, s20=20.0)}, None),
    ("a pass a place", "Autoregression", {"passes": 64.0, "positions": 64.0}, True),
    ("fewer passes", "Autoregression", {"passes": 8.0, "positions": 64.0}, False),
    ("smooth", "A VAE's latent", {"walk": 1.3}, True),
    ("jumps", "A VAE's latent", {"walk": 4.0}, False),
    ("blurred", "A VAE's samples", {"sharpness": 0.5}, True),
    ("sharp", "A VAE's samples", {"sharpness": 0.95}, False),
]


@pytest.mark.parametrize(
    ("numbers", "says", "found"), [(n, s, f) for _, s, n, f in RULES], ids=[f"{s}: {i}" for i, s, *_ in RULES]
)
def test_rules(numbers, says, found):
    (claim,) = [c for c in claims.CLAIMS if c.says.startswith(says)]
    own = made("own", claim.family, **numbers)
    judged = {j.says: j for j in claims.judge([own, made("flow", "flow", **FLOW)], REAL)}
    verdict = {True: "reproduced", False: "not reproduced", None: "not tested"}[found]
    assert judged[claim.says].verdict == verdict, judged[claim.says].why
    others = [j for j in judged.values() if j.family != claim.family]
    assert others and all(j.verdict == "not tested" and "was compared" in j.why for j in others)


def test_a_less_sharp_rival_and_failures_decide_too():
    vae, flow = made("vae", "autoencoding", sharpness=0.5), made("flow", "flow", sharpness=0.4)
    assert claims.judge([vae, flow], {})[-1].verdict == "not reproduced"
    edm = {**made("edm", "diffusion", frechet_x=[1.0, 1.0]), "reasons": ["seed 1: lost"]}
    assert claims.stable([edm], [], {}) == (False, "runs failed: edm")
    lost = {**made("edm", "diffusion"), "seeds": [], "status": "failed"}
    assert {j.why for j in claims.judge([lost], {}) if j.family == "diffusion"} == {"no run of edm was finished"}


def test_every_claim_has_rule_and_source():
    for claim in claims.CLAIMS:
        assert claim.rule and re.search(r"arXiv \d{4}\.\d{4,5}", claim.source), claim.says
    assert {c.family for c in claims.CLAIMS} == {"adversarial", "diffusion", "autoregression", "autoencoding"}


def test_ranges_over_seeds():
    found = rows.spread([1.0, 3.0], "s", "lower")
    assert (found["value"], found["low"], found["high"]) == (2.0, 1.0, 3.0)
    assert rows.apart(rows.spread([1.0, 2.0]), rows.spread([3.0, 4.0]))
    assert not rows.apart(rows.spread([1.0, 3.0]), rows.spread([3.0, 4.0]))
    assert not rows.apart(rows.spread([1.0]), rows.spread([3.0]))


class Reader(HTMLParser):
    """Tags open and close in order; what a page would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.tags = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.fetched += [v for k, v in attrs if k in ("src", "href", "data", "action") and not v.startswith("data:")]
        if tag not in ("meta", "img", "line", "circle", "polyline", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("line", "circle", "polyline"):
            assert self.open and self.open.pop() == tag, tag


def well_formed(html):
    reader = Reader()
    reader.feed(html)
    assert reader.open == [] and reader.fetched == [] and not {"script", "link", "iframe", "object"} & reader.tags
    assert "http" not in html and "url(" not in html and "@import" not in html
    return reader


def test_the_page_is_escaped_and_stands_alone():
    bad = "<script>alert(1)</script>"
    table = [
        made(bad, "diffusion", gap_closed=[0.5, 0.6], frechet_x=[1.0, 9.0], ladder=ladder(s4=9.0, s20=2.0), **FLOW)
    ]
    table += [
        {**made("gan", "adversarial", gap_closed=[0.2, 0.3], samples_per_second=400.0), "reasons": [f"seed 2: {bad}"]}
    ]
    run = {"recipe": bad, "seed": 0, "makes": "text", "samples": [bad], "real": [bad], "wall_s": 1.0}
    said = {
        "name": bad, "rows": table, "seeds": 2, "budget": {"asked": bad}, "finished": True, "runs_done": 4,
        "runs_asked": 4, "dataset": {"path": bad, "version": 1, "digest": bad, "medium": bad, "splits": {bad: 3}},
        "baselines": {"recall/real": rows.spread([0.9], bad)}, "notes": [bad], "seconds": 3.0, "forecast": {},
        "claims": [c.json() for c in claims.judge(table, {})],
    }  # fmt: skip
    for row in table:
        row["gap_closed"]["better"] = row["samples_per_second"]["better"] = "higher"
    html = page.rendered(said, [run])
    assert bad not in html and html.count("&lt;script&gt;") > 8
    well_formed(html)
    assert "is best by gap closed: 0.550, before gan with 0.250" in html and "not made" in html
    assert "gan draws quickest, 400.0 samples a second" in html and 'class="chip no">not reproduced' in html


def test_headlines_say_how_sure():
    near = [made("a", "flow", gap_closed=[0.5, 0.6]), made("b", "flow", gap_closed=[0.4, 0.55])]
    for row in near:
        row["gap_closed"]["better"] = "higher"
    assert "a is best" in page.headline(near) and "ranges over seeds meet" in page.headline(near)
    assert page.headline([]) == "No run was finished."


def test_a_comparison_in_which_nothing_may_be_deployed_says_so():
    done = {"finished": True, "runs_done": 2, "runs_asked": 2}
    good, bad = ({"gate": {"passed": n, "of": 1, "reasons": []}} for n in (1, 0))
    assert page.word(done, [good, bad]) == "Finished"
    assert page.word(done, [bad]) == "Finished: no run passed its gate"
    assert page.word(done | {"finished": False, "runs_done": 1}, [good]) == "Unfinished: 1 of 2 runs"


def test_plots():
    assert plot([], "x", "y") == "" and decades(0.5, 80) == [0.5, 1, 2, 5, 10, 20, 50]
    svg = plot([Series("<a>", [Point(1, 2, 1, 3), Point(10, 1)], 0), Series("b", [Point(5, 5)], 9)], "x", "y")
    assert "&lt;a&gt;" in svg and svg.count("<circle") == 3 and 'class="s1"' in svg and "nan" not in svg
    assert "<circle" in plot([Series("alone", [Point(3, 0)], 0)], "x", "y")
