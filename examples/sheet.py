"""A sheet of pictures that a run makes, a row a label, each pixel enlarged. The README's picture is one.

python examples/sheet.py RUN OUT.png [--columns 10] [--enlarge 4] [--seed 0]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import genus
from genus.conditions.label import Label


def main() -> None:
    """Draw, lay out, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("out", type=Path)
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--enlarge", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    run = genus.load(args.run)
    conditioner = run.model().conditioner
    labels = list(conditioner.index) if isinstance(conditioner, Label) and conditioner.index else [None] * 10
    rows = []
    for i, label in enumerate(labels):
        made = run.generate(label, n=args.columns, seed=args.seed + i)
        framed = [np.pad(picture, ((1, 1), (1, 1), (0, 0)), constant_values=255) for picture in made]
        rows.append(np.concatenate(framed, axis=1))
    sheet = np.concatenate(rows).repeat(args.enlarge, 0).repeat(args.enlarge, 1)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet[:, :, 0] if sheet.shape[2] == 1 else sheet).save(args.out, optimize=True)
    print(f"{args.out}: {len(labels)} rows of {args.columns}")


if __name__ == "__main__":
    main()
