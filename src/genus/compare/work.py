"""One run of a comparison, in a process of its own: train, validate, look at how it draws.

A process of its own, so that a crash or a full memory ends one run and not the comparison, and so that the peak memory
is that run's. They talk in lines of JSON: a job goes in; what a watch hears, and at last a result or an error, come
out. When the other end goes away, however it ended, the child saves and stops, as on Ctrl-C.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, final

import genus
from genus import files
from genus.errors import GenusError, UsageError
from genus.watch import Watch

if TYPE_CHECKING:
    from genus.recipe import Phase, Recipe
    from genus.run import Run
    from genus.train.sizing import SizingConfig

SHOWN = 24  # pictures for the page
TEXTS = 3
LETTERS = 900  # of a text on the page
PATIENCE = 120.0  # seconds that a child has to save and stop


@final
@dataclass(frozen=True)
class Job:
    """recipe: as JSON, settings applied. budget: as `genus.train.budget` reads it. folder: of the run.

    samples: the most that a measure may draw. ladder: seconds for quality against steps, 0: not measured. trial: only
    try a step of training and a few samples, in a folder that is thrown away.
    """

    recipe: dict[str, Any]
    seed: int
    budget: str
    dataset: str
    version: int
    folder: str
    samples: int
    ladder: float = 0.0
    trial: bool = False


#: Does a job, telling a watch, and returns what it found. Raises what went wrong.
Runner = Callable[[Job, Watch], dict[str, Any]]


def done(job: Job, watch: Watch) -> dict[str, Any]:
    """The job, in this process. Raises `GenusError`, and whatever else a part may raise."""
    return tried(job, watch) if job.trial else measured(job, watch)


def seeded(recipe: Any, seed: int) -> Any:
    """The recipe with the seed of every phase moved on by `seed`: weights, order of data and noise are others."""
    phases = (p.but(training=p.training.but(seed=p.training.seed + seed)) for p in recipe.phases)
    return recipe.but(phases=tuple(phases))


def _begun(job: Job) -> tuple[Any, Any]:
    from genus.data.dataset import Dataset
    from genus.recipe import Recipe

    return seeded(Recipe.model_validate(job.recipe), job.seed), Dataset.open(Path(job.dataset), job.version)


def tried(job: Job, watch: Watch) -> dict[str, Any]:
    """A step a phase and a few samples: what a step and a sample take, before anything is spent."""
    from genus.compare.drawing import once
    from genus.core import Noise
    from genus.train.budget import budget
    from genus.train.stage import train
    from genus.validate.features import features
    from genus.validate.subject import Subject

    recipe, dataset = _begun(job)
    watch.stage("try", recipe.name)
    few_steps = budget(f"{2 * len(recipe.phases)} steps")
    least = resized(recipe, lambda _, sizing: sizing.dials[0])
    run = train(least, dataset, Path(job.folder), few_steps, watch)
    sized = likely(recipe, run, budget(job.budget).seconds)
    if sized != least:
        run = train(sized, dataset, Path(job.folder).with_name("sized"), few_steps, watch)
    subject = Subject.of(run, job.samples)
    few = range(4)
    noise = Noise(0, tuple(few))
    once(subject.model, noise.part(0, 1), subject.asked([0]))
    x, seconds = once(subject.model, noise, subject.asked(few))
    looking = 0.0
    media = subject.model.codec.decode(x)
    if not isinstance(media[0], str):
        features(media[:1])
        begun = time.perf_counter()
        features(media)
        looking = (time.perf_counter() - begun) / len(few)
    said = files.read_json(run.path / "forecast.json")
    return {
        "parameters": said["parameters"],
        "seconds_a_step": said["seconds_a_step"],
        "seconds_per_sample": seconds / len(few),
        "seconds_per_look": looking,
    }


def resized(recipe: Recipe, dial: Callable[[Phase, SizingConfig], int]) -> Recipe:
    """The recipe with each phase that a budget would size as large as `dial` says, and sized no more."""
    from genus.train.sizing import SizingConfig

    phases = []
    for phase in recipe.phases:
        if isinstance(phase.sizing, SizingConfig) and phase.sizing.dials:
            at = dial(phase, phase.sizing)
            phase = phase.but(nets={name: net.sized(at) for name, net in phase.nets.items()}, sizing=None)
        phases.append(phase)
    return recipe.but(phases=tuple(phases))


def likely(recipe: Recipe, run: Run, seconds: float | None) -> Recipe:
    """The recipe with its last network as large as the law will have it in so many seconds of training.

    run: of a few steps of its least sizes. A step is taken to be as long as its weights are many. Without seconds the
    networks are those that are written.
    """
    from genus.train.plan import sizes

    if seconds is None:
        return recipe
    model, said, last = run.model(), files.read_json(run.path / "forecast.json"), recipe.phases[-1]
    a_weight = said["seconds_a_step"] / said["batch"] / said["parameters"]
    left = seconds * last.share / sum(one.share for one in recipe.phases)

    def dial(phase: Phase, sizing: SizingConfig) -> int:
        if phase != last:
            return sizing.dials[0]
        each = sizing.sample or float(model.space.cells)
        different = float(run.data["bytes"]) if model.codec.streams else run.data["splits"]["train"] * each
        losses = [sizing.loss(n, left / (a_weight * n) * each, different) for n in sizes(phase, model)]
        return sizing.dials[sizing.best(losses)]

    return resized(recipe, dial)


def measured(job: Job, watch: Watch) -> dict[str, Any]:
    """Train, validate, and look: what a run adds to the comparison. The same job again goes on where it was."""
    from genus.compare.drawing import looked
    from genus.train.budget import budget
    from genus.train.stage import train
    from genus.validate import show, validate
    from genus.validate.subject import Subject

    begun = time.monotonic()
    recipe, dataset = _begun(job)
    name = f"{recipe.name}, seed {job.seed}"
    watch.stage("train", f"{name}, budget {job.budget}")
    run = train(recipe, dataset, Path(job.folder), budget(job.budget), watch)
    watch.stage("measure", name)
    subject = Subject.of(run, job.samples, watch)
    report = validate(run, samples=job.samples, watch=watch, subject=subject)
    found = looked(subject, job.ladder)
    said = report.json()
    held = subject.held_out(SHOWN)
    written = isinstance(held[0].media, str)
    made = subject.samples(TEXTS if written else SHOWN)
    summary = run.summary
    return {
        "recipe": recipe.name,
        "seed": job.seed,
        "medium": run.medium,
        "run": str(run.path),
        **{name: said[name] for name in ("metrics", "baselines", "gate", "notes")},
        "drawing": found,
        "cost": {
            name: summary.get(name)
            for name in ("kwh", "kwh_method", "seconds", "steps", "parameters", "peak_bytes", "forecast_s")
        },
        "makes": "text" if written else list(made[0].shape),
        "samples": [text[:LETTERS] for text in made] if written else [show.png(picture) for picture in made],
        "real": [str(r.media)[:LETTERS] for r in held[:TEXTS]]
        if written
        else [show.png(p) for p in subject.seen(held)],
        "wall_s": time.monotonic() - begun,
    }


def apart(job: Job, watch: Watch) -> dict[str, Any]:
    """The job in a process of its own. Raises `GenusError` with the reason, also where the process died."""
    folder = Path(job.folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.parent / f"{folder.name}.log"
    where = os.pathsep.join([str(Path(genus.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    with log.open("w") as errors:
        child = subprocess.Popen(
            [sys.executable, "-c", "from genus.compare.work import child; child()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C reaches us alone; we tell the child, once
            env={**os.environ, "PYTHONPATH": where},
        )
        try:
            result = heard(child, job, watch)
        finally:
            for pipe in (child.stdin, child.stdout):
                assert pipe is not None
                with suppress(OSError):
                    pipe.close()  # what tells it to save and stop, if it still runs
            try:
                child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
    if result is None:
        raise GenusError(f"its process ended with {ending(child.returncode)}; what it said stands in {log}")
    if not log.stat().st_size:
        log.unlink()
    if "error" in result:
        raise (UsageError if result.get("code") == UsageError.exit_code else GenusError)(result["error"])
    found: dict[str, Any] = result["found"]
    return found


def ending(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
        return name + (" (as a rule: no memory was left)" if name == "SIGKILL" else "")
    return f"signal {-code}"


def heard(child: subprocess.Popen[str], job: Job, watch: Watch) -> dict[str, Any] | None:
    """Gives the child its job and passes on what it says; its result, or None if it ended without one."""
    assert child.stdin is not None and child.stdout is not None
    with suppress(BrokenPipeError):
        child.stdin.write(json.dumps(asdict(job)) + "\n")
        child.stdin.flush()
    result: dict[str, Any] | None = None
    for line in child.stdout:
        what, *said = json.loads(line)
        if what == "end":
            result = said[0]
        else:
            getattr(watch, what)(*said)
    return result


@final
class Told:
    """A watch that writes what it hears as lines of JSON; not more than five ticks a second."""

    def __init__(self, out: IO[str]) -> None:
        self.out, self.last = out, 0.0

    def line(self, *said: Any) -> None:
        """One."""
        with suppress(OSError):  # nobody listens any more: the work must still be saved
            self.out.write(json.dumps(said) + "\n")
            self.out.flush()

    def stage(self, name: str, about: str = "") -> None:
        """Passed on."""
        self.line("stage", name, about)

    def tick(self, done: float, total: float | None = None, note: str = "") -> None:
        """Passed on, if the last one is old enough."""
        if time.monotonic() - self.last > 0.2:
            self.last = time.monotonic()
            self.line("tick", done, total, note)

    def say(self, line: str) -> None:
        """Passed on."""
        self.line("say", line)


def child() -> None:
    """The other end of `apart`."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints shall not stand between the lines
    told = Told(out)
    with os.fdopen(os.dup(0), "rb", buffering=0) as source:
        job = Job(**json.loads(source.readline()))

    def follow() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()
    try:
        result: dict[str, Any] = {"found": done(job, told)}
    except GenusError as error:
        result = {"error": str(error), "code": error.exit_code}
    except Exception as error:  # whatever a part may raise ends this run and not the comparison
        traceback.print_exc()
        result = {"error": f"{type(error).__name__}: {error}"}
    told.line("end", result)
    os._exit(0)  # nothing is left to do, and the thread waits for ever
