"""The command line as people and scripts meet it: exit codes, one JSON object, messages that say what to do next."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import toys
from typer.testing import CliRunner

from genus import files, make
from genus.cli import app
from genus.cli.lines import forecasted
from genus.cli.options import columns
from genus.errors import GenusError, UsageError
from genus.networks import bytewise
from genus.train.loop import Interrupted

VERBS = [["make"], ["compare"], ["collect"], ["clean"], ["train"], ["validate"], ["deploy"], ["generate"], ["score"],
         ["anomalies"], ["serve"], ["reproduce"], ["compress"], ["recipes"], ["info"], ["doctor"]]  # fmt: skip
SMALL = ["--set", "net.depth=1", "--set", "net.width=32", "--set", "net.head=16", "--set", "source.window=32",
         "--set", "training.compile=no", "--set", "training.precision=fp32", "--set", "training.batch=4"]  # fmt: skip


def genus(*words, **env):
    """A real process, from the entry point."""
    return subprocess.run(
        [sys.executable, "-m", "genus", *map(str, words)], capture_output=True, text=True, timeout=120,
        env={**os.environ, **env},
    )  # fmt: skip


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        assert len(self.out.strip().splitlines()) == 1, self.out
        return json.loads(self.out)


@pytest.fixture
def run(capsys, monkeypatch):
    """The entry point in this process: what it prints and ends with."""
    from genus.cli import main

    def go(*words):
        monkeypatch.setattr(sys, "argv", ["genus", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return Result(end.value.code or 0, said.out, said.err)

    return go


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with a dataset of texts and a run trained on it."""
    base = tmp_path_factory.mktemp("home")
    source = base / "letters"
    source.mkdir()
    for i, text in enumerate(toys.texts(60)):
        (source / f"{i}.txt").write_text(f"{text} And then it was {i} o'clock, as it is every day in this town.\n")
    runner = CliRunner()
    for words in (["collect", source], ["clean", "letters"], ["train", "letters", "--budget", "10 steps", *SMALL]):
        result = runner.invoke(app, [*map(str, words), "--home", str(base), "--json"])
        assert result.exit_code == 0, result.output + repr(result.exception)
        json.loads(result.stdout)
    return base


def test_help_and_import_cost_no_torch():
    code = (
        "import sys\nimport genus\nassert genus.__version__\nassert 'torch' not in sys.modules, 'import'\n"
        "sys.argv = ['genus', '--help']\nfrom genus.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'lance', 'numpy', 'pydantic'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "genus make letters/ --budget 10m" in done.stdout


def test_what_draws_and_learns_loads_no_compiler_of_graphs():
    code = (
        "import sys\nimport genus.deploy.samples, genus.deploy.server, genus.train.stage\n"
        "from genus.networks import decoder, transformer\nassert 'torch._dynamo' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_public_names_are_seen_before_they_are_fetched():
    told = "import genus, sys; print(set(genus.__all__) <= set(dir(genus)), 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True).stdout == "True False\n"


@pytest.mark.parametrize("verb", VERBS, ids=lambda v: v[0])
def test_every_verb_has_help_with_an_example(verb):
    result = CliRunner().invoke(app, [*verb, "--help"])
    assert result.exit_code == 0 and f"Example: genus {verb[0]}" in result.output
    assert "--json" in result.output


def test_real_processes(home, tmp_path):
    """Entry point, exit code, and what goes to which stream."""
    done = genus("generate", "letters", "the", "--home", home, "--tokens", 5, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["items"][0].startswith("the") and done.stderr == ""
    done = genus("generate", "nobody", "--home", home)
    assert done.returncode == 2 and done.stdout == "" and "no run 'nobody'" in done.stderr
    assert "there are: letters" in done.stderr and "Traceback" not in done.stderr


def test_a_name_that_is_not_utf_8(home, tmp_path):
    strange = os.fsdecode(os.fsencode(str(tmp_path)) + b"/n\xff.txt")
    Path(strange).write_text("a text in a file whose name is no UTF-8\n")
    done = genus("collect", tmp_path, "--name", "strange", "--home", tmp_path / "h", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["added"] == 1
    done = subprocess.run(
        [sys.executable, "-m", "genus", "collect", strange + "x", "--home", str(tmp_path / "h"), "--json"],
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2 and b"Traceback" not in done.stderr
    assert "does not exist" in json.loads(done.stdout)["error"]


def test_collect_and_clean_say_what_they_did(run, home, tmp_path):
    again = run("collect", home / "letters", "--home", home, "--json").json
    assert set(again) >= {"dataset", "version", "added", "known", "refused", "quarantined"}
    assert again["added"] == 0 and again["known"] == 60
    cleaned = run("clean", "letters", "--home", home, "--json").json
    assert {"dataset", "version", "kept", "rules"} <= set(cleaned)
    assert "items kept" in run("clean", "letters", "--home", home).out
    assert "0 items added, 60 known" in run("collect", home / "letters", "--home", home).out


def test_train_says_what_scripts_read(run, home):
    said = run("train", "letters", "--budget", "10 steps", *SMALL, "--home", home, "--json").json
    assert set(said) == {"run", "dataset", "report", "deployed", "seconds"}
    assert said["run"] == str(home / "runs" / "letters") and said["deployed"] is False and said["seconds"] > 0


def test_a_dry_run_leaves_no_run(run, home):
    words = ("train", "letters", "--budget", "10 steps", "--name", "dry", "--dry-run", *SMALL, "--home", home)
    said = run(*words, "--json").json
    assert {"parameters", "memory_bytes", "seconds", "kwh", "steps"} <= set(said)
    assert "energy" in run(*words).out and not (home / "runs" / "dry").exists()
    forecasted(said)


def test_generate_says_what_it_made(run, home, tmp_path):
    made = run("generate", "letters", "the", "-n", 2, "--tokens", 4, "--home", home, "--json").json
    assert set(made) == {"files", "items"} and len(made["items"]) == 2 and made["files"] == []
    made = run("generate", "letters", "-n", 2, "--tokens", 4, "-o", tmp_path / "out", "--home", home, "--json").json
    assert all(Path(f).exists() for f in made["files"]) and len(made["files"]) == 2
    told = run("reproduce", made["files"][1], "--home", home, "--json")
    assert told.code == 0 and told.json
    Path(made["files"][0]).write_text("something else")
    assert run("reproduce", made["files"][0], "--home", home, "--json").code == 1
    two = run("generate", "letters", "the", "-n", 3, "--tokens", 4, "--home", home, "--json").json["items"][:2]
    assert two == run("generate", "letters", "the", "-n", 2, "--tokens", 4, "--home", home, "--json").json["items"]


def test_deploy_refuses_and_is_forced(run, home):
    refused = run("deploy", "letters", "--home", home, "--json")
    assert refused.code == 1 and "never validated" in refused.json["error"]
    assert run("deploy", "letters", "--force", "--home", home, "--json").json["deployed"] is True


def test_info_recipes_doctor(run, home):
    assert run("info", "--home", home, "--json").json["runs"] == ["letters"]
    both = run("info", "letters", "--home", home, "--json").json
    assert both["run"]["finished"] is True and both["dataset"]["status"]["kept"] == 60
    assert "letters" in run("info", "--home", home).out and "finished" in run("info", "letters", "--home", home).out
    assert {"gpt", "flow"} <= {r["name"] for r in run("recipes", "--json").json["recipes"]}
    from genus.about import lines

    assert list(lines({"path out of the archive": 2, "empty": 1})) == [
        "path out of the archive  2",
        "empty                    1",
    ]
    listed = [line.split()[0] for line in run("recipes").out.splitlines()]
    assert listed == [r["name"] for r in run("recipes", "--json").json["recipes"]]
    said = run("doctor", "--home", home, "--json").json
    assert {"healthy", "torch", "cores"} <= set(said)
    assert ("training by bytes" in said["kernels"]) == (bytewise.kernel() is not None)


def test_doctor_that_finds_something_prints_one_object(run, home, monkeypatch):
    monkeypatch.setattr("genus.about.examine", lambda home: {"healthy": False, "missing": ["x"]})
    sick = run("doctor", "--json")
    assert sick.code == 1 and sick.json == {"healthy": False, "missing": ["x"]} and "missing" in sick.err


def test_make_that_is_not_deployed_prints_one_object(run, home, monkeypatch):
    made = sys.modules["genus.make"].Made(home, home, home / "report.html", False, 1.0, ("worse than gzip",))
    monkeypatch.setattr(sys.modules["genus.make"], "make", lambda *a, **k: made)
    done = run("make", home / "letters", "--home", home, "--json")
    assert done.code == 1 and done.json["deployed"] is False and done.json["reasons"] == ["worse than gzip"]
    assert "not deployed: worse than gzip" in done.err


WRONG = [
    (["train", "letters", "--budget", "soon"], r"budget 'soon' is not understood"),
    (["train", "letters", "--budget", "-5m"], r"budget '-5m' is not understood"),
    (["train", "letters", "--budget", "1s"], r"at least 5 s"),
    (["train", "letters", "--recipe", "gtp"], r"did you mean 'gpt'"),
    (["train", "letters", "--set", "training.speed=1"], r"has no 'speed'"),
    (["train", "letters", "--set", "training.rate=-1"], r"greater than 0"),
    (["train", "letters", "--name", "../x"], r"use letters, digits"),
    (["train", "nothing"], r"there is no dataset 'nothing' in .*; there are: letters"),
    (["train", "letters", "--budget", "10 steps", "--set", "training.rate=0.5"], r"another recipe or other settings"),
    (["clean", "nothing"], r"there is no dataset 'nothing'"),
    (["clean", "letters", "--undo", "nothing"], r"nothing"),
    (["collect", "/no/such/place"], r"/no/such/place does not exist"),
    (["collect", "LETTERS", "--name", "a/b"], r"name 'a/b': use letters"),
    (["collect", "LETTERS", "--name", "-x"], r"name '-x'"),
    (["collect", "LETTERS", "--consent", "perhaps"], r"consent 'perhaps' is none of"),
    (["collect", "LETTERS", "--medium", "smell"], r"medium 'smell' is none of"),
    (["collect", "LETTERS", "--column", "text"], r"write role=name"),
    (["make", "LETTERS", "--recipe", "nothing"], r"there is no recipe 'nothing'"),
    (["make", "LETTERS", "--budget", ""], r"budget '' is not understood"),
    (["make", "LETTERS", "--name", "x" * 101], r"at most 100"),
    (["make", "/no/such/place"], r"does not exist"),
    (["compare", "LETTERS", "--recipes", "gpt,gtp"], r"did you mean 'gpt'"),
    (["compare", "LETTERS", "--recipes", "flow", "--name", "unfit"], r"flow cannot learn from text; these can: "),
    (["compare", "LETTERS", "--recipes", "gpt", "--seeds", "0"], r"seeds = 0"),
    (["compare", "LETTERS"], r"--recipes"),
    (["generate", "letters", "-n", "0"], r"n = 0"),
    (["generate", "letters", "-n", "-3"], r"n = -3"),
    (["generate", "letters", "--first", "-1"], r"first = -1"),
    (["generate", "letters", "--temperature", "-1"], r"temperature = -1"),
    (["generate", "letters", "--temperature", "nan"], r"temperature = nan"),
    (["generate", "letters", "--top-p", "0"], r"top_p = 0"),
    (["generate", "letters", "--top-k", "-1"], r"top_k = -1"),
    (["generate", "letters", "--tokens", "0"], r"tokens = 0"),
    (["generate", "letters", "--steps", "3"], r"no 'steps'; it has: "),
    (["generate", "letters", "--guidance", "3"], r"no 'guidance'"),
    (["generate", "letters", "--mask", "m.png"], r"give the picture with --image"),
    (["generate", "letters", "--strength", "0.5"], r"--strength 0\.5 says .* give the picture with --image"),
    (["generate", "letters", "--plus", "a.png"], r"a\.png is added to .* say whose with --from"),
    (["generate", "letters", "--image", "a", "--between", "a", "b"], r"--image and --between: .* leave the others out"),
    (["generate", "letters", "--between", "a", "b", "-n", "3", "--first", "2"], r"--first 2: .* leave --first out"),
    (["generate", "letters", "--between", "seed:x", "seed:2", "-n", "3"], r"'seed:x' is no seed; write e\.g\. seed:3"),
    (["generate", "letters", "--between", "seed:1", "seed:2", "-n", "3"], r"from no latent"),
    (["generate", "letters", "--from", "/no/such/file.txt"], r"/no/such/file\.txt is no file"),
    (["generate", "letters", "--image", "/no/such/file.png"], r"/no/such/file\.png is no file"),
    (["score", "letters", "/no/such/file"], r"/no/such/file is no file; name a file of text"),
    (["score", "letters", "LETTERS", "--set", "probes=8"], r"has no 'probes'; it has: "),
    (["score", "letters", "LETTERS", "--set", "probes"], r"'probes' is not understood; write name=value"),
    (["anomalies", "letters", "LETTERS", "-n", "0"], r"n = 0"),
    (["anomalies", "letters", "/no/such/file"], r"/no/such/file is no file"),
    (["generate", "x" * 300], r"there is no run 'xxx"),
    (["generate", "~no-such-user/x"], r"there is no run '~no-such-user/x'"),
    (["generate", ""], r"there is no run ''"),
    (["info", "nothing"], r"there is no dataset 'nothing'"),
    (["validate", "nothing"], r"there is no run 'nothing'"),
    (["deploy", "nothing"], r"there is no run 'nothing'"),
    (["serve", "nothing"], r"there is no run 'nothing'"),
    (["reproduce", "/no/such/file.png"], r"/no/such/file\.png"),
    (["generate", "letters", "-n", "many"], r"valid integer"),
    (["generate", "letters", "--nothing"], r"--nothing"),
    (["nothing"], r"nothing"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[" ".join(w)[:60] for w, _ in WRONG])
def test_what_is_asked_wrongly_ends_with_2(run, home, words, said):
    words = [str(home / "letters") if w == "LETTERS" else w for w in words]
    known = words[0] in {v[0] for v in VERBS}
    result = run(*words, *(["--home", home, "--json"] if known else ["--json"]))
    assert result.code == 2, result.err
    import re

    assert re.search(said, result.json["error"], re.DOTALL) and result.err.strip()


def test_a_home_that_cannot_be_written(run, home, tmp_path):
    (tmp_path / "file").write_text("")
    for words in (["collect", home / "letters"], ["make", home / "letters", "--budget", "5 steps"]):
        result = run(*words, "--home", tmp_path / "file" / "x", "--json")
        assert result.code == 1 and "file" in result.json["error"]
    assert run("info", "--home", "~no-such-user-here/x", "--json").code == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (Interrupted("stopped at step 3"), 130), (GenusError("no"), 1), (UsageError("no"), 2),
     (OSError(28, "No space left on device", "/x"), 1)],
)  # fmt: skip
def test_exit_codes(run, monkeypatch, error, code):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("genus.about.everything", fail)
    result = run("info", "--json")
    assert result.code == code and "error" in result.json and "Traceback" not in result.err


def test_columns():
    assert columns(["text=body", "label=a=b"]) == {"text": "body", "label": "a=b"} and columns(None) is None


class TestMake:
    """All five stages at once, small."""

    def test_an_empty_folder(self, run, tmp_path):
        (tmp_path / "empty").mkdir()
        result = run("make", tmp_path / "empty", "--home", tmp_path / "h", "--json")
        assert result.code == 1 and "nothing in" in result.json["error"]

    def test_one_item_is_refused_before_the_budget_is_spent(self, run, tmp_path, monkeypatch):
        from genus.train.loop import Loop

        monkeypatch.setattr(Loop, "run", lambda self: pytest.fail("trained"))
        (tmp_path / "one.txt").write_text("a single text that nothing can be held out from, as there is no other\n")
        words = ("make", tmp_path / "one.txt", "--budget", "5 steps", *SMALL, "--home", tmp_path / "h", "--json")
        result = run(*words)
        assert result.code == 2 and ("no text to train on" in result.err or "holds nothing out" in result.err)

    def test_its_name_is_the_function_whatever_was_imported(self):
        code = (
            "import genus.make; import genus; assert callable(genus.make)\ntry: genus.make()\nexcept TypeError as e: "
        )
        code += "assert 'source' in str(e), e\nfrom genus import make; assert callable(make) and callable(genus.make)"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

    def test_texts(self, run, home, tmp_path):
        words = ("make", home / "letters", "--name", "all", "--budget", "30 steps", *SMALL, "--home", home, "--json")
        first = run(*words)
        said = first.json
        assert {"run", "dataset", "report", "deployed", "seconds"} <= set(said)
        assert first.code == (0 if said["deployed"] else 1) and Path(said["report"]).exists()
        report = files.read_json(Path(said["run"]) / "report.json")
        assert set(report) >= {"metrics", "baselines", "gate", "budget", "energy"}
        assert set(report["metrics"][0]) >= {"name", "value", "low", "high", "unit", "better", "split"}
        assert set(report["gate"]) >= {"passed", "reasons"} and set(report["energy"]) >= {"kwh", "method"}
        assert set(report["budget"]) >= {"asked_s", "forecast_s", "used_s"}
        before = files.sha256(Path(said["run"]) / "model.safetensors")
        again = run(*words)
        assert again.code == first.code and again.json["run"] == said["run"]
        assert files.sha256(Path(said["run"]) / "model.safetensors") == before

    def test_pictures_in_python(self, home, tmp_path):
        from PIL import Image

        for i, picture in enumerate(toys.pictures(60)):
            folder = tmp_path / "edges" / ("light" if i % 2 else "dark")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture[:, :, 0]).save(folder / f"{i}.png")
        (tmp_path / "edges" / "README.md").write_text("What this folder is about, in a few plain words.\n")
        settings = ["net.widths=[16, 16, 16]", "net.head=16", "training.compile=no", "training.batch=8"]
        settings += ["measures.nearest.samples=8", "measures.samples.pictures=4", "sampler.steps=4"]
        made = make(tmp_path / "edges", budget="30 steps", home=home, settings=[*settings, "training.precision=fp32"])
        assert made.run == home / "runs" / "edges" and made.report.exists() and (made.deployed or made.reasons)
        from genus import load

        assert load(made.run).generate("dark", n=2, steps=2)[0].shape == (8, 8, 1)
        with pytest.raises(UsageError, match=r"'green' is not a label of the training data; it has: dark, light"):
            load(made.run).generate("green", steps=2)
