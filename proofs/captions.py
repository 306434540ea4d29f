"""Pictures from captions that no training step has read.

`--set-name emoji_noto64` or `game_icons`: captions of the test split that training has not got, made of words that it
has. A recipe draws them; an encoder trained apart (`judges.Reader`, on the training split alone) looks for each
caption's picture among those of 32 captions. Beside it: the same with the captions shuffled, which must give chance,
and with the real held-out pictures, which is what this encoder can see at all; and the first again by an encoder that
knows none of the training pictures whose captions are the nearest, which a recipe may have looked at (`rdm`). Writes
the last seed's first pictures to docs/images. `--folds N` leaves the test split alone, by which settings may have been
chosen: every seed holds out other captions of the training split, and learns from the rest of it.

`--set-name pairs`: coloured shapes that the proof draws, captioned "red circle", some pairs held out although their
colour and their shape occur. What is drawn for those is judged by rules: the nearest colour of the mean foreground,
and the shape by a classifier of outlines that was trained apart, on drawings of the proof, and sees no colour. The same
rules judge fresh real drawings of the held-out pairs (the ceiling) and the samples under shuffled captions (chance).
"""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from judges import Judge, Reader
from lab import Lab, resampled, tables, words
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from proof import ROOT, Row, arguments, shelf, write

from genus import files
from genus.conditions.neighbours import Index
from genus.conditions.neighbours import words as vocabulary
from genus.core import Noise
from genus.run import Run
from genus.validate.distances import nearest
from genus.validate.features import flat
from genus.validate.retrieval import opponents

AMONG = 32
FOLD = 400  # captions that a fold holds out
NEAR = 4  # training pictures that a caption brings to mind, as `conditions.neighbours` has them
APART = "by an encoder that learned without the training pictures of the captions nearest to those asked"
MOVES = 8  # ways of giving each picture the caption of another
ACROSS, DOWN = 8, 4
JUDGE_SEED = 1000
SIDE = 32
COLOURS = {
    "red": (214, 39, 40),
    "orange": (255, 140, 0),
    "yellow": (240, 215, 30),
    "green": (40, 160, 60),
    "cyan": (30, 190, 200),
    "blue": (35, 70, 200),
    "purple": (135, 60, 190),
    "black": (25, 25, 25),
}
#: Corners, as angles in turns and distances from the middle; a circle and a ring have none.
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "bar")


def main() -> None:
    args = arguments(
        __doc__,
        extra={
            "--set-name": (str, "emoji_noto64"),
            "--recipe": (str, "text-flow"),
            "--budget": (str, "20m"),
            "--each": (int, 4),
            "--epochs": (int, 10),
            "--set": (words, []),
            "--folds": (int, 0),
            "--keep": (Path, None),
        },
    )
    lab = Lab(args.keep, args.set)
    if args.set_name == "pairs":
        rows, note = pairs(lab, args)
    else:
        rows, note = named(lab, args, shelf(args, args.set_name))
    note = f"recipe {args.recipe}, {args.budget}, {args.seeds} seeds, {args.each} samples a caption and seed; {note}"
    write(args, f"captions_{args.set_name}", rows, lab.seconds, note, lab.kwh)


def fresh(run: Run) -> tuple[list[Any], int]:
    """Held-out records whose caption training has not got but whose words it has, a caption once; and all held out."""
    known = {str(r.fields["caption"]) for split in ("train", "val") for r in run.dataset().media(split)}
    read = set().union(*map(vocabulary, known))
    held = list(run.dataset().media("test"))
    left = {}
    for record in sorted(held, key=lambda r: r.id):
        caption = str(record.fields["caption"])
        if caption not in known and vocabulary(caption) and vocabulary(caption) <= read:
            left.setdefault(caption, record)
    return list(left.values()), len(held)


def named(lab: Lab, args: Any, source: Path) -> tuple[list[Row], str]:
    """Retrieval of real data's captions: of the test split by every seed, or of a fold by each."""
    if args.folds:
        parts = []
        for fold in range(args.folds):
            name = f"{args.set_name}_fold{fold}"
            lab.dataset(name, folded(source / "train.parquet", lab.folder / name, fold))
            parts.append(read(lab, args, name, [fold]))
    else:
        lab.dataset(args.set_name, tables(source))
        parts = [read(lab, args, args.set_name, range(args.seeds))]
    got = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    among = {key: resampled(value * AMONG) for key, value in got.items()}
    rows = [
        Row("captions that training has not got, made of words that it has", len(got["drawn"])),
        Row(f"asked caption found among {AMONG}", *resampled(got["drawn"]), baseline=f"chance {1 / AMONG:.3g}"),
        Row(f"asked caption found among {AMONG}, over chance", *among["drawn"], bar=">= 5"),
        Row("the same from the real held-out pictures (ceiling)", *among["real"]),
        Row("the same with the captions shuffled (control)", *among["shuffled"], baseline="1"),
        Row(f"{APART}, over chance", *among["drawn, apart"]),
        Row(f"{APART}, real held-out pictures", *among["real, apart"]),
        Row(f"{APART}, the training picture of the nearest caption in place of a drawing", *among["copies, apart"]),
        Row(
            "pixels off by half of black to white, to the nearest training picture",
            *resampled(got["new"]),
            unit="share",
        ),
        Row("the same of the real held-out pictures", *resampled(got["new, real"]), unit="share"),
    ]
    of = f"{args.folds} folds, each with a seed of its own; " if args.folds else ""
    return rows, f"{of}encoder: EfficientNet-Lite0 led to MiniLM; bootstrap over captions"


def folded(table: Path, folder: Path, fold: int) -> list[Path]:
    """A training split as two tables, of which the second holds out the fold's captions."""
    every = pq.read_table(table)
    captions = np.array([str(c) for c in every["caption"].to_pylist()])
    order = np.random.default_rng(0).permutation(np.unique(captions))
    out = np.isin(captions, order[fold * FOLD : (fold + 1) * FOLD])
    folder.mkdir(exist_ok=True)
    made = {"train": every.filter(pa.array(~out)), "test": every.filter(pa.array(out))}
    for split, rows in made.items():
        files.replace(folder / f"{split}.parquet", partial(pq.write_table, rows))
    return tables(folder)


def read(lab: Lab, args: Any, name: str, seeds: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Of each fresh caption of a set the share of drawings, and of what they are beside, in which it was found."""
    runs = [lab.run(name, args.recipe, args.budget, seed) for seed in seeds]
    taught = [(r.media, str(r.fields["caption"])) for r in runs[0].dataset().media("train")]
    reader = Reader(*zip(*taught, strict=True))
    records, held = fresh(runs[0])
    captions, pictures = [str(r.fields["caption"]) for r in records], [r.media for r in records]
    lab.say(
        f"{name}: {len(captions)} of {held} held-out captions are new, and of known words; ridge {reader.ridge:.3g}"
    )
    index = Index([caption for _, caption in taught])
    near = [[i for i, _ in index.nearest(caption, NEAR)] for caption in captions]
    theirs = {i for places in near for i in places}
    apart = Reader(*zip(*(pair for i, pair in enumerate(taught) if i not in theirs), strict=True))
    others = opponents(captions, AMONG - 1)
    said, said_apart = reader.said(captions), apart.said(captions)
    hits, hits_apart = [], []
    for run in runs:
        for turn in range(args.each):
            made = lab.drawn(run, f"captions, turn {turn}", len(captions), drawing(run, captions, turn))
            seen = reader.seen(list(made))
            hits.append(found(said, seen, others))
            hits_apart.append(found(said_apart, apart.seen(list(made)), others))
        lab.say(f"{run.name}: {np.mean(hits[-args.each :]):.3f} of {len(captions)} captions found among {AMONG}")
    # The pictures are those of the last turn; each is looked for by another caption, among the same number.
    moved = [np.roll(np.arange(len(captions)), by) for by in range(1, MOVES + 1)]
    copies = [taught[(places or [0])[0]][0] for places in near]
    shown(made, captions, ROOT / "docs" / "images" / f"captions_{args.set_name}.png")
    return {
        "drawn": np.mean(hits, axis=0),
        "real": found(said, reader.seen(pictures), others),
        "shuffled": np.mean([found(said, seen[at], others) for at in moved], axis=0),
        "drawn, apart": np.mean(hits_apart, axis=0),
        "real, apart": found(said_apart, apart.seen(pictures), others),
        "copies, apart": found(said_apart, apart.seen(copies), others),
        "new": anew(list(made), [picture for picture, _ in taught]),
        "new, real": anew(pictures, [picture for picture, _ in taught]),
    }


def anew(pictures: Sequence[Any], taught: Sequence[Any]) -> NDArray[Any]:
    """Of each picture the share of pixels that differ by half their range from the nearest one of training."""
    points, known = (np.stack([flat(x).mean(-1).ravel() for x in some]) / 255 for some in (pictures, taught))
    _, who = nearest(points, known, 1)
    return np.asarray((np.abs(points - known[who[:, 0]]) > 0.5).mean(1))


def shown(made: NDArray[Any], captions: Sequence[str], path: Path) -> None:
    """The first pictures under what was asked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.2 * ACROSS, 1.35 * DOWN), dpi=100, layout="tight")
    for axes, picture, caption in zip(figure.subplots(DOWN, ACROSS).flat, made, captions, strict=False):
        axes.imshow(np.broadcast_to(flat(picture), (*picture.shape[:2], 3)), interpolation="nearest")
        axes.set_title(textwrap.fill(caption, 18), fontsize=6)
    for axes in figure.axes:
        axes.axis("off")
    files.replace(path, lambda part: figure.savefig(part, format="png"))


def drawing(run: Run, captions: Sequence[str], turn: int) -> Any:
    """Draws the caption of each index; every turn has noise of its own."""
    key = Noise(run.phase.training.seed).child(f"turn {turn}").key

    def draw(at: range) -> list[Any]:
        made: list[Any] = run.model().generate(Noise(key, tuple(at)), {"caption": [captions[i] for i in at]})
        return made

    return draw


def found(said: NDArray[Any], seen: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """Whether each caption fits its own picture better than those of the others: 1.0 or 0.0. Ties count against."""
    fit = said @ seen.T
    own = np.arange(len(said))
    better = fit[own, own][:, None] > fit[own[:, None], others]
    return np.asarray(better.all(1), np.float64)


def pairs(lab: Lab, args: Any) -> tuple[list[Row], str]:
    """Colours and shapes in combinations that training has not got."""
    every = list(itertools.product(COLOURS, SHAPES))
    # A Latin pattern: of each colour and of each shape the same number is held out.
    held = [
        (c, s) for (i, c), (j, s) in itertools.product(enumerate(COLOURS), enumerate(SHAPES)) if (i - j) % 8 in (0, 3)
    ]
    known = [pair for pair in every if pair not in held]
    place = lab.folder / "pairs"
    if not (place / "test.parquet").exists():
        place.mkdir(exist_ok=True)
        _table(place / "train.parquet", known, 60, seed=1)
        _table(place / "test.parquet", held, 10, seed=2)
    # Not cleaned: shapes of one kind are near-duplicates by their nature, and each is drawn once.
    lab.dataset("pairs", tables(place), cleaned=False)
    judge = Judge(len(SHAPES), SIDE, JUDGE_SEED, width=16)
    x, y = _outlines(every, 40, seed=3)
    judge.learn(x, y, args.epochs, 2, lab.say)
    asked = [pair for pair in held for _ in range(args.each)]
    wanted, taught = (np.array([_numbers(pair) for pair in which]) for which in (asked, known))
    real = np.stack([drawn(*pair, np.random.default_rng([4, i])) for i, pair in enumerate(asked)])
    hits = []
    for seed in range(args.seeds):
        run = lab.run("pairs", args.recipe, args.budget, seed)
        captions = [f"{colour} {shape}" for colour, shape in asked]
        made = lab.drawn(run, "held-out pairs", len(captions), drawing(run, captions, 0))
        hits.append(seen(judge, made) == wanted)
        lab.say(f"{run.name}: {hits[-1].all(1).mean():.3f} of {len(asked)} samples of held-out pairs are as asked")
        sight = drawing(run, [f"{c} {s}" for c, s in known], 1)
        trained = (seen(judge, lab.drawn(run, "training pairs", len(known), sight)) == taught).all(1)
        lab.say(f"{run.name}: {trained.mean():.3f} of training pairs")
    right = np.mean([h.all(1) for h in hits], axis=0).reshape(len(held), args.each).mean(1)
    moved = np.roll(wanted, args.each, axis=0)
    shuffled = (seen(judge, made) == moved).all(1).reshape(len(held), args.each).mean(1)
    ceiling = (seen(judge, real) == wanted).all(1).reshape(len(held), args.each).mean(1)
    by = np.mean(hits, axis=0).reshape(len(held), args.each, 2).mean(1)
    rows = [
        Row("pairs held out of 64", len(held)),
        Row("held-out pairs: samples of the asked colour and shape", *resampled(right), bar=">= 0.9"),
        Row("held-out pairs: samples of the asked colour", *resampled(by[:, 0])),
        Row("held-out pairs: samples of the asked shape", *resampled(by[:, 1])),
        Row("training pairs: samples as asked, last seed", *resampled(trained)),
        Row("the judge on real drawings of held-out pairs (ceiling)", *resampled(ceiling), bar=">= 0.98"),
        Row("the same samples under shuffled captions (control)", *resampled(shuffled), bar="<= 0.1"),
    ]
    return rows, "bootstrap over pairs"


def _numbers(pair: tuple[str, str]) -> tuple[int, int]:
    return list(COLOURS).index(pair[0]), SHAPES.index(pair[1])


def drawn(colour: str, shape: str, dice: np.random.Generator) -> NDArray[Any]:
    """A shape of 32 x 32 pixels on white: place, size, turn and shade are its own. uint8 [H, W, 3]."""
    scale = 4
    radius = dice.uniform(8, 11) * scale
    middle = (SIDE * scale - 1) / 2 + dice.uniform(-3, 3, 2) * scale
    shade = tuple(int(v) for v in np.clip(np.array(COLOURS[colour]) + dice.normal(0, 6, 3), 0, 255))
    turn = dice.uniform(-12, 12) / 360
    image = Image.new("RGB", (SIDE * scale,) * 2, "white")
    pen = ImageDraw.Draw(image)
    box = [*(middle - radius), *(middle + radius)]
    if shape == "circle":
        pen.ellipse(box, fill=shade)
    elif shape == "ring":
        pen.ellipse(box, fill=shade)
        pen.ellipse([*(middle - radius * 0.5), *(middle + radius * 0.5)], fill="white")
    else:
        for part in _corners(shape):
            angle, far = np.array(part).T
            angle = (angle + turn) * 2 * np.pi
            points = middle + radius * far[:, None] * np.stack([np.sin(angle), -np.cos(angle)], 1)
            pen.polygon([(float(px), float(py)) for px, py in points], fill=shade)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def _corners(shape: str) -> list[list[tuple[float, float]]]:
    """Polygons as (angle in turns from above, distance from the middle)."""

    def slab(along: float, across: float, at: float = 0.0) -> list[tuple[float, float]]:
        far = float(np.hypot(along, across))
        half = float(np.arctan2(across, along)) / (2 * np.pi)
        return [(at + sign + side * half, far) for sign, side in ((0, -1), (0, 1), (0.5, -1), (0.5, 1))]

    return {
        "square": [slab(0.8, 0.8)],
        "triangle": [[(i / 3, 1.1) for i in range(3)]],
        "star": [[(i / 10, (1.2, 0.45)[i % 2]) for i in range(10)]],
        "cross": [slab(1.0, 0.3), slab(1.0, 0.3, 0.25)],
        "diamond": [[(0, 1.15), (0.25, 0.7), (0.5, 1.15), (0.75, 0.7)]],
        "bar": [slab(0.3, 1.1)],
    }[shape]


def _table(path: Path, which: Sequence[tuple[str, str]], each: int, seed: int) -> None:
    rows = []
    for i, (colour, shape) in enumerate(pair for pair in which for _ in range(each)):
        file = io.BytesIO()
        Image.fromarray(drawn(colour, shape, np.random.default_rng([seed, i]))).save(file, "PNG")
        rows.append({"image": file.getvalue(), "caption": f"{colour} {shape}"})
    pq.write_table(pa.Table.from_pylist(rows), path)


def outline(picture: NDArray[Any]) -> NDArray[Any]:
    """How much each pixel differs from white, 0 .. 1 of the most: no colour is left."""
    far = 255.0 - picture.astype(np.float64).min(-1)
    return far / max(float(far.max()), 1.0)


def _outlines(which: Sequence[tuple[str, str]], each: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = [], []
    for i, (colour, shape) in enumerate(pair for pair in which for _ in range(each)):
        x.append(outline(drawn(colour, shape, np.random.default_rng([seed, i]))))
        y.append(SHAPES.index(shape))
    return np.stack(x), np.array(y)


def seen(judge: Judge, pictures: NDArray[Any]) -> NDArray[Any]:
    """[n, 2]: the nearest colour of the mean foreground, and the shape."""
    outlines = np.stack([outline(p) for p in pictures])
    known = np.array(list(COLOURS.values()), np.float64)
    colours = []
    for picture, inside in zip(pictures, outlines > 0.7, strict=True):
        mean = picture[inside].astype(np.float64).mean(0) if inside.any() else np.full(3, 255.0)
        colours.append(int(np.square(known - mean).sum(1).argmin()))
    return np.stack([np.array(colours), judge.says(outlines)], 1)


if __name__ == "__main__":
    main()
