"""Quality against steps: where more of them stop helping, and what a student of four steps keeps of its teacher.

(1) A run draws the same pictures, from the same noises, with more and more steps. The bar: the best distance with 20
to 50 steps within 5 % of that with the most. (2) A recipe that distils (`progressive`, `reflow`, `consistency`) trains
teacher and student with one command; the teacher is its phase before the last. The bars: the student's distance within
15 % of the teacher's at --teacher-steps, and ten times the samples a second, taken in turns. Distances are Fréchet's in
the features of EfficientNet-Lite0; their quotient is taken of the same noises, with a jackknife interval. Control: the
teacher itself at the student's number of steps.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab import Lab, apart, distance, numbers, tables, words
from proof import Row, arguments, interval, shelf, write

from genus.core import Model, Noise
from genus.run import Run, load_model
from genus.validate.subject import Subject

LADDER = (4, 8, 12, 20, 30, 50, 100, 1000)
FEW, MANY = 20, 50
TOGETHER, ROUNDS = 16, 7


def main() -> None:
    args = arguments(
        __doc__,
        extra={
            "--set-name": (str, "mnist10k"),
            "--recipe": (str, "flow"),
            "--students": (words, ["progressive", "reflow", "consistency"]),
            "--budget": (str, "20m"),
            "--student-budget": (str, "20m"),
            "--samples": (int, 1000),
            "--ladder-samples": (int, 250),
            "--steps": (numbers, [float(s) for s in LADDER]),
            "--teacher-steps": (int, 50),
            "--rounds": (int, ROUNDS),
            "--set": (words, []),
            "--keep": (Path, None),
        },
    )
    source = shelf(args, args.set_name)
    lab = Lab(args.keep, args.set)
    lab.dataset(args.set_name, tables(source))
    rows = []
    if args.recipe:
        rows += ladder(lab, args)
    for student in args.students:
        rows += distilled(lab, args, student)
    note = (
        f"{args.budget} of training, of teacher and student {args.student_budget}, {args.samples:,} samples, "
        f"{args.ladder_samples:,} with each number of steps; quotients of distances: the same noises, jackknife over "
        f"samples, the seed of the middle; speed: {args.rounds} turns, median, least and most"
    )
    write(args, f"sampling_steps_{args.set_name}", rows, lab.seconds, note, lab.kwh)


def ladder(lab: Lab, args: Any) -> list[Row]:
    """Quality against steps."""
    most = int(max(args.steps))
    rows, quotients = [], []
    for seed in range(args.seeds):
        run = lab.run(args.set_name, args.recipe, args.budget, seed)
        subject = Subject.of(run, args.ladder_samples)
        n = min(args.ladder_samples, len(subject.held_out(args.ladder_samples)))
        real = subject.item_features(subject.held, n)
        looks = {}
        for steps in (int(s) for s in args.steps):
            looks[steps] = lab.samples(subject, run, "ladder", n, steps=steps)
            fd = distance(looks[steps], real)
            lab.say(f"{run.name}, {steps} steps: Fréchet {fd[0]:.1f}")
            if seed == 0:
                rows.append(Row(f"{args.recipe}, {steps} steps: Fréchet", *fd))
        usual = [s for s in looks if FEW <= s <= MANY] or [min(looks, key=lambda s: abs(s - 30))]
        quotients += [min((apart(looks[s], looks[most], real) for s in usual), key=lambda span: span[0])]
        few = min(looks)
        rows.append(
            Row(f"seed {seed}: Fréchet at {few} steps over {most} (control)", *apart(looks[few], looks[most], real))
        )
    middle = sorted(quotients)[len(quotients) // 2]
    return [Row(f"{args.recipe}: best Fréchet of {FEW} to {MANY} steps over {most}", *middle, bar="<= 1.05"), *rows]


def distilled(lab: Lab, args: Any, recipe: str) -> list[Row]:
    """A student beside its teacher."""
    quotients, controls, speeds, rows = [], [], [], []
    for seed in range(args.seeds):
        run = lab.run(args.set_name, recipe, args.student_budget, seed)
        student = Subject.of(run, args.samples)
        teacher = replace(student, model=taught(run))
        steps = int(getattr(student.model.sampler, "steps", 1))
        n = min(args.samples, len(student.held_out(args.samples)))
        real = student.item_features(student.held, n)
        drawn = lab.samples(student, run, "student", n)
        shown = lab.samples(teacher, run, "teacher", n, steps=args.teacher_steps)
        hasty = lab.samples(teacher, run, "teacher", n, steps=steps)
        quotients.append(apart(drawn, shown, real))
        controls.append(apart(hasty, shown, real))
        speeds += raced(student, teacher, args.teacher_steps, args.rounds)
        rows.append(Row(f"seed {seed}, {recipe}: student's Fréchet at {steps} steps", *distance(drawn, real)))
        rows.append(Row(f"seed {seed}, {recipe}: teacher's at {args.teacher_steps}", *distance(shown, real)))
        lab.say(f"{run.name}: student over teacher {quotients[-1][0]:.3f}, speed {speeds[-1]:.1f}")
    middle = sorted(quotients)[len(quotients) // 2]
    control = sorted(controls)[len(controls) // 2]
    head = f"{recipe}: Fréchet of the student at {steps} steps over its teacher at {args.teacher_steps}"
    return [
        Row(head, *middle, bar="<= 1.15"),
        Row(f"{recipe}: samples a second, student over teacher", *interval(speeds), bar=">= 10"),
        Row(f"{recipe}: Fréchet of the teacher at {steps} steps over {args.teacher_steps} (control)", *control),
        *rows,
    ]


def taught(run: Run) -> Model:
    """The model that the last phase learned from: the one before it."""
    teacher = run.recipe.phases[-2].name
    return load_model(run.path / "phases" / teacher)[0]


def raced(student: Subject, teacher: Subject, steps: int, rounds: int) -> list[float]:
    """How many times as quick the student is, by turn; the first turn warms up and does not count."""
    noise, asked = Noise(0, tuple(range(TOGETHER))), student.asked(range(TOGETHER))
    found = []
    for _ in range(rounds + 1):
        times = []
        for model, knobs in ((student.model, {}), (teacher.model, {"steps": steps})):
            begun = time.perf_counter()
            model.generate(noise, asked, **knobs)
            times.append(time.perf_counter() - begun)
        found.append(times[1] / times[0])
    return found[1:]


if __name__ == "__main__":
    main()
