"""Scaling: is a larger model's loss inside the interval that a law through smaller ones foretold?

`genus scale --check` on tinyshakespeare with characters: four sizes, some seeds each, then the next size. Beside it
what one would say without a law: that the larger one is as good as the largest that was trained, or that loss goes on
falling as a power of compute with no floor. One held-out size: it shows that the interval is not idle, not how often
it holds; tests/train/test_law.py counts that on losses of a known law.
`--keep DIR` keeps the runs, so that a killed proof goes on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lab import Lab
from proof import Row, arguments, shelf, write


def main() -> None:
    extra = {"--keep": (Path, None), "--budget": (str, "20m"), "--dials": (str, "2,3,4,5,6")}
    args = arguments(__doc__, extra=extra)
    files = [shelf(args, "tinyshakespeare") / f"{part}.txt" for part in ("train", "val")]
    lab = Lab(args.keep)
    lab.dataset("tinyshakespeare", files, cleaned=False)
    words = ["tinyshakespeare", "--recipe", "chargpt", "--budget", args.budget, "--seeds", str(args.seeds), "--check"]
    said = lab.genus("scale", *words, "--yes", "--set", f"sizing.dials=[{args.dials}]")
    told, came, law = said["foretold"], said["check"], said["law"]
    largest = min(said["losses"].values())
    points = np.array([(point["compute"], point["loss"]) for point in said["points"]])
    slope, start = np.polyfit(*np.log(points).T, 1)
    straight = float(np.exp(start + slope * np.log(told["compute"])))
    unit = "nats a character"
    rows = [
        Row("foretold loss of the larger size", told["loss"], told["low"], told["high"], unit=unit),
        Row("its loss", came["loss"], unit=unit),
        Row("inside the interval", int(came["inside"]), bar="= 1"),
        Row("width of the interval over the loss", (told["high"] - told["low"]) / told["loss"]),
        Row("miss of the law", abs(told["loss"] / came["loss"] - 1), bar="<= 0.05"),
        Row("miss of 'as the largest that was trained'", abs(largest / came["loss"] - 1)),
        Row("miss of a power law without a floor", abs(straight / came["loss"] - 1)),
    ]
    sizes = ", ".join(f"{n / 1e6:.2f} M" for n in dict.fromkeys(p["parameters"] for p in said["points"]))
    note = (
        f"sizes {sizes}, then {told['parameters'] / 1e6:.2f} M with {told['compute'] / points[:, 0].max():.1f} times "
        f"the compute; L(C) = {law['floor']:.3f} + {law['a']:.3g} / C^{law['exponent']:.3f}; runs differ from it by "
        f"{law['spread']:.2%}; one held-out size, one seed of it"
    )
    write(args, "scale", rows, lab.seconds, note, lab.kwh)


if __name__ == "__main__":
    main()
