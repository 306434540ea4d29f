"""The one loop, on both cells of the product: what is accumulated, resumed, stopped or broken ends the same."""

import errno
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import toys

from genus.core import Batch, Source
from genus.errors import GenusError
from genus.networks.decoder import DecoderConfig, Mixture
from genus.objectives.flow import Flow
from genus.train import checkpoint
from genus.train.loop import Interrupted, trim
from genus.train.pace import Pace

PHASES = {"text": toys.text_phase, "image": toys.image_phase}
GOLDEN = Path(__file__).with_name("golden.json")


@pytest.fixture(params=PHASES)
def phase(request):
    return PHASES[request.param]


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Raise(Exception):
    """A crash of our own."""


@dataclass
class Broken(Source):
    """A source that ends the process's luck at one step."""

    source: Source
    at: int

    def batch(self, step):
        if step == self.at:
            raise Raise
        return self.source.batch(step)


def test_the_loss_falls(phase, tmp_path):
    loop = toys.loop(phase(), tmp_path, 40)
    first = loop.evaluate()
    loop.run()
    assert loop.at.step == 40 and loop.at.best < 0.8 * first


def test_golden_trajectory(phase, request, tmp_path):
    """20 steps in fp32; regenerate with GENUS_GOLDEN=1 and say in the commit why the numbers may move."""
    loop = toys.loop(phase(), tmp_path, 20)
    seen = [loop.step() for _ in range(20)]
    seen = {"loss": [loss for loss, _ in seen], "norm": [norm for _, norm in seen], "held out": [loop.evaluate()]}
    name = request.node.callspec.id
    if os.environ.get("GENUS_GOLDEN"):
        known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
        GOLDEN.write_text(json.dumps({**known, name: seen}, indent=1) + "\n")
    for key, values in json.loads(GOLDEN.read_text())[name].items():
        assert seen[key] == pytest.approx(values, rel=1e-4), key


def test_two_passes_of_four_are_one_of_eight(phase, tmp_path):
    ran = []
    for name, micro in (("whole", None), ("halves", 4), ("odd", 3)):
        made = phase(micro=micro)
        loop = toys.loop(made, tmp_path / name, 12)
        ran.append(([loop.step() for _ in range(12)], loop.weights()))
    for steps, weights in ran[1:]:
        assert torch.tensor(steps) == pytest.approx(torch.tensor(ran[0][0]), rel=2e-4)
        for key, value in weights.items():
            torch.testing.assert_close(value, ran[0][1][key], rtol=1e-3, atol=2e-4)


def test_what_networks_say_is_added_and_logged(tmp_path):
    """A term of experts moves the weights, not the loss that is logged, and two passes of four are one of eight."""
    ran = {}
    for name, weight, micro in (("none", 0.0, None), ("whole", 0.5, None), ("halves", 0.5, 4), ("odd", 0.5, 3)):
        mixture = Mixture(number=4, chosen=2, hidden=16, balance=weight, z=weight / 10, capacity=1.0)
        sizes = {"depth": 2, "width": 32, "head": 16, "heads": 2, "kv_heads": 2}
        made = toys.text_phase(micro=micro).but(nets={"net": DecoderConfig(**sizes, mixture=mixture)})
        loop = toys.loop(made, tmp_path / name, 4)
        ran[name] = ([loop.step()[0] for _ in range(4)], loop.weights(), loop.told)
    assert ran["none"][0][0] == ran["whole"][0][0] and not equal(ran["none"][1], ran["whole"][1])
    for name in ("halves", "odd"):
        assert ran[name][0] == pytest.approx(ran["whole"][0], rel=2e-4)
        assert ran[name][2] == pytest.approx(ran["whole"][2], rel=1e-3)
        for key, value in ran[name][1].items():
            torch.testing.assert_close(value, ran["whole"][1][key], rtol=1e-3, atol=2e-4)
    assert {"balance", "router_z", "dropped"} <= set(ran["whole"][2]) and ran["whole"][2]["balance"] > 0.9


def test_killed_and_resumed_is_undisturbed(phase, tmp_path):
    """Bit for bit, with dropout, an average, an evaluation on either side of the kill, and its metrics too."""
    extra = {"dropout": 0.1} if phase is toys.text_phase else {}
    made = phase(**extra)
    straight = toys.loop(made, tmp_path / "straight", 16)
    kept = straight.run()
    for at in (3, 8, 15):
        folder = tmp_path / f"killed at {at}"
        loop = toys.loop(made, folder, 16, checkpoint_every=0.0)
        loop.source = Broken(loop.source, at)
        with pytest.raises(Raise):
            loop.run()
        again = toys.loop(made, folder, 16)
        assert equal(again.run(), kept) and equal(again.weights(), straight.weights())
        assert again.at == straight.at
        assert [{**row, "seconds": 0} for row in toys.rows(folder)] == [
            {**row, "seconds": 0} for row in toys.rows(tmp_path / "straight")
        ]


def test_an_objective_is_told_how_far_the_run_is(tmp_path, monkeypatch):
    """The same for all passes of a step; held-out loss is that of the end, so that its values can be compared."""
    seen = []
    monkeypatch.setattr(Flow, "at", lambda objective, progress: seen.append(progress) or objective)
    loop = toys.loop(toys.image_phase(micro=4, evaluations=2), tmp_path, 4)
    loop.run()
    held = [1.0] * len(list(loop.evaluation()))
    assert seen == [0.0, 0.0, 0.25, 0.25, *held, 0.5, 0.5, 0.75, 0.75, *held]


def test_a_finished_loop_run_again_changes_nothing(phase, tmp_path):
    kept = toys.loop(phase(), tmp_path, 10).run()
    rows = toys.rows(tmp_path)
    assert equal(toys.loop(phase(), tmp_path, 10).run(), kept) and toys.rows(tmp_path) == rows


def test_killed_before_it_saved_leaves_no_rows(tmp_path):
    for _ in range(2):
        loop = toys.loop(toys.text_phase(), tmp_path, 10)
        loop.source = Broken(loop.source, 6)
        with pytest.raises(Raise):
            loop.run()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "pretrain", "st')
    toys.loop(toys.text_phase(), tmp_path, 10).run()
    steps = [(row["split"], row["step"]) for row in toys.rows(tmp_path)]
    assert len(steps) == len(set(steps)) and {s for _, s in steps} == set(range(1, 11))


def test_no_step_is_judged_twice(phase, tmp_path):
    loop = toys.loop(phase(rate=1e-9, muon_rate=1e-9, patience=2), tmp_path, 30)
    loop.run()
    steps = [(row["split"], row["step"]) for row in toys.rows(tmp_path)]
    assert len(steps) == len(set(steps))


def test_a_torn_checkpoint_is_passed_over(phase, tmp_path):
    made = phase()
    kept = toys.loop(made, tmp_path / "straight", 12).run()
    loop = toys.loop(made, tmp_path / "torn", 12, checkpoint_every=0.0)
    loop.source = Broken(loop.source, 9)
    with pytest.raises(Raise):
        loop.run()
    torn = loop.place / "step-9" / "state.safetensors"
    torn.write_bytes(torn.read_bytes()[:-100])
    again = toys.loop(made, tmp_path / "torn", 12, watch=(ear := toys.Ear()))
    assert equal(again.run(), kept) and "resuming at step 8" in ear.said


def test_a_full_disk_is_said_and_survived(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "save_file", full)
    loop = toys.loop(toys.text_phase(), tmp_path, 5, checkpoint_every=0.0, watch=(ear := toys.Ear()))
    assert loop.run() and loop.at.step == 5
    assert any("No space left" in line and "training goes on" in line for line in ear.said)
    assert not checkpoint.steps(loop.place) and not list(loop.place.glob(".*"))


def test_metrics_that_cannot_be_written_are_said(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    loop = toys.loop(toys.text_phase(), tmp_path, 3, watch=(ear := toys.Ear()))
    loop.resume = lambda: None
    loop.run()
    assert any("metrics.jsonl" in line for line in ear.said)


def spoiled(loop, bad):
    """The loop with a loss that is not finite at the steps `bad`."""
    loss = loop.loss

    def spoil(nets, batch, draws, turn):
        value, metrics = loss(nets, batch, draws, turn)
        return (value * math.nan if nets.training and loop.at.step in bad else value), metrics

    loop.loss = spoil
    return loop


def test_a_loss_that_is_not_finite_is_left_out(phase, tmp_path):
    loop = spoiled(toys.loop(phase(), tmp_path, 10), {2, 5})
    weights = loop.run()
    assert loop.at.step == 10 and all(w.isfinite().all() for w in weights.values())
    assert any(row["loss"] is None for row in toys.rows(tmp_path)) and math.isfinite(loop.at.best)


def test_twenty_in_a_row_end_the_run(tmp_path):
    loop = spoiled(toys.loop(toys.text_phase(), tmp_path, 100), range(5, 100))
    with pytest.raises(GenusError, match=r"not finite since step 5; lower the rates.* training\.rate=0\.001"):
        loop.run()
    assert loop.at.step == 24


@dataclass
class Dice(Source):
    """Words without a rule: nothing can be learned."""

    source: Source

    def batch(self, step):
        batch = self.source.batch(step)
        draw = torch.Generator().manual_seed(step)
        return replace(batch, x=torch.randint(0, 257, batch.x.shape, generator=draw))


def test_what_cannot_be_learned_is_given_up(tmp_path):
    made = toys.text_phase(patience=2, evaluations=40, warmup=0.0)
    loop = toys.loop(made, tmp_path, 400, watch=(ear := toys.Ear()))
    held = [Dice(loop.source).batch(10**6)]
    loop.source, loop.evaluation = Dice(loop.source), lambda: iter(held)
    loop.run()
    assert loop.at.step < 300 and any("cooling down early" in line for line in ear.said)
    rates = [row["rate"] for row in toys.rows(tmp_path) if row["split"] == "train"]
    assert rates[-1] < 1.0  # it did not end at full rate


def test_early_cooldown_of_a_timed_run_keeps_its_length():
    """With time spent before the first step, the cooldown still is its share of what was trained."""
    for begun in (0.0, 30.0):
        pace = Pace(100.0, timed=True)
        at = begun + 0.1 * (100 - begun)
        pace.shorten(0.1, 0.4, begun)
        assert (at - begun) / (pace.total - begun) == pytest.approx(0.6)


def test_a_timed_run_ends_in_time_with_its_rate_at_zero(tmp_path):
    loop = toys.loop(toys.text_phase(), tmp_path, pace=Pace(2.0, timed=True))
    start = time.monotonic()
    loop.run()
    assert 1.9 < time.monotonic() - start < 4
    rates = [row["rate"] for row in toys.rows(tmp_path) if row["split"] == "train"]
    assert max(rates) == 1 and rates[-1] < 0.2


def test_resuming_keeps_the_budget_it_began_with(tmp_path):
    loop = toys.loop(toys.text_phase(), tmp_path, 10, checkpoint_every=0.0)
    loop.source = Broken(loop.source, 4)
    with pytest.raises(Raise):
        loop.run()
    again = toys.loop(toys.text_phase(), tmp_path, pace=Pace(5.0, timed=True))
    again.run()
    assert again.at.step == 10


def test_a_step_is_a_function_of_its_number(phase, tmp_path):
    """Drops of the condition and all other draws do not move with what was drawn before."""
    a, b = (toys.loop(phase(), tmp_path / name, 10) for name in "ab")
    torch.rand(7)
    assert a.step() == b.step()
    assert a.evaluate() == a.evaluate() == b.evaluate()


def test_evaluation_weighs_cells_not_batches(tmp_path):
    made = toys.text_phase()
    loop = toys.loop(made, tmp_path, 5)
    codec, cache = toys.data(made, 6)
    values = []
    for size in (1, 4, 100):
        loop.evaluation = lambda size=size: made.source.once(cache, codec, size)
        values.append(loop.evaluate())
    assert values == pytest.approx([values[0]] * 3, rel=1e-5)


def test_trim(tmp_path):
    trim(tmp_path / "none", "a", 3)
    assert not (tmp_path / "none").exists()
    path = tmp_path / "metrics.jsonl"
    rows = [{"phase": p, "step": s} for p in "ab" for s in (1, 2, 3)]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows[:5]) + '{"phase": "b", "st\n' + json.dumps(rows[5]))
    trim(path, "b", 1)
    assert [json.loads(line) for line in path.read_text().splitlines()] == rows[:4]


CHILD = """
import sys
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
import toys
from genus.errors import GenusError
kind, folder = sys.argv[1], Path(sys.argv[2])
phase = {{"text": toys.text_phase, "image": toys.image_phase}}[kind]()
loop = toys.loop(phase, folder, 120, checkpoint_every=0.05)
step = loop.step
steps = iter(range(10**6))
def slow():
    if next(steps) == 5:
        print("going", flush=True)
    return step()
loop.step = slow
try:
    weights = loop.run()
except GenusError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
torch.save(weights, folder / "weights.pt")
"""


def child(kind, folder):
    code = CHILD.format(tests=str(Path(__file__).parent.parent))
    return subprocess.Popen(
        [sys.executable, "-c", code, kind, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_sigkill_and_ctrl_c_at_any_moment(tmp_path):
    """A real process: killed outright once, stopped by Ctrl-C once, and resumed to the undisturbed weights."""
    kind = "text"
    kept = toys.loop(PHASES[kind](), tmp_path / "straight", 120).run()
    folder = tmp_path / "run"
    moment = random.Random(time.time_ns())
    for number, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        process = child(kind, folder)
        process.stdout.readline()  # "going", or the end
        time.sleep(moment.uniform(0, 0.3))
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        late = process.returncode == 0 or "KeyboardInterrupt" in said  # the loop was quicker than the signal
        assert late or process.returncode == code, said
        assert late or number != signal.SIGINT or "all is saved" in said
    loop = toys.loop(PHASES[kind](), folder, 120, watch=(ear := toys.Ear()))
    assert equal(loop.run(), kept)
    if not (folder / "weights.pt").exists():
        assert ear.said and ear.said[0].startswith("resuming at step")
    steps = [(row["split"], row["step"]) for row in toys.rows(folder)]
    assert len(steps) == len(set(steps))


def test_interrupted_has_the_code_of_ctrl_c():
    assert Interrupted("x").exit_code == 130
    assert Batch(torch.zeros(1, 1, 1)).cells == 1
