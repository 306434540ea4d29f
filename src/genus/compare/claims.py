"""What the literature says of the families, held against the rows of one comparison: reproduced, not, or not tested.

Each claim names its family, its source and the rule that decides, as a sentence that the page prints. A rule sees rows
(`genus.compare.rows`) and nothing else. "Not reproduced" says that it was not seen on this data, within this budget, by
these recipes; it refutes nothing. A rule looks at every finished recipe of the family: one against it decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, final

from genus.compare.rows import apart

Row = dict[str, Any]
Verdict = Literal["reproduced", "not reproduced", "not tested"]
#: Yes, no or None (cannot be said), and why.
Found = tuple[bool | None, str]

COVERS = 0.9  # of what real training items reach
STABLE = 0.1  # standard deviation over mean
NEAR, MANY = 1.05, 100  # of the distance with so many steps
BLURRED = 0.9  # of the sharpness of held-out pictures
EVEN = 2.0  # largest step of a walk over the mean one


@final
@dataclass(frozen=True)
class Claim:
    """family: of the recipes it speaks of. rule: what decides, in words. test: it, on (own, others, baselines)."""

    family: str
    says: str
    rule: str
    source: str
    test: Callable[[Sequence[Row], Sequence[Row], dict[str, Row]], Found]


@final
@dataclass(frozen=True)
class Judged:
    """What became of a claim on this data."""

    family: str
    says: str
    verdict: Verdict
    why: str
    rule: str
    source: str

    def json(self) -> dict[str, Any]:
        """For comparison.json."""
        return asdict(self)


def judge(rows: Sequence[Row], baselines: dict[str, Row]) -> list[Judged]:
    """Every claim against the finished rows."""
    finished = [row for row in rows if row["seeds"]]
    out = []
    for claim in CLAIMS:
        own = [row for row in finished if row["family"] == claim.family]
        others = [row for row in finished if row["family"] != claim.family]
        lost = [row["recipe"] for row in rows if row["family"] == claim.family and not row["seeds"]]
        if own:
            said, why = claim.test(own, others, baselines)
        elif lost:
            said, why = None, f"no run of {_names(lost)} was finished"
        else:
            said, why = None, f"no recipe of this family ({claim.family}) was compared"
        verdict: Verdict = "not tested" if said is None else "reproduced" if said else "not reproduced"
        out.append(Judged(claim.family, claim.says, verdict, why, claim.rule, claim.source))
    return out


def value(row: Row, name: str) -> float | None:
    """A number of a row, or None."""
    found = row.get(name)
    return found["value"] if isinstance(found, dict) else None


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)


def _each(rows: Sequence[Row], name: str, form: str = "{:.3g}") -> str:
    return ", ".join(f"{row['recipe']} {form.format(value(row, name))}" for row in rows)


def _lacking(rows: Sequence[Row], *names: str) -> str | None:
    for row in rows:
        for name in names:
            if value(row, name) is None:
                reason = row.get(name, {}).get("reason") or "not measured"
                return f"{row['recipe']} has no {name.replace('_', ' ')}: {reason}"
    return None


def one_pass(own: Sequence[Row], others: Sequence[Row], baselines: dict[str, Row]) -> Found:
    """One call of the network a sample, and quicker than whoever takes more."""
    more = [row for row in others if (value(row, "passes") or 0) > 1 and value(row, "samples_per_second") is not None]
    if lack := _lacking(own, "passes", "samples_per_second"):
        return None, lack
    said = f"passes a sample: {_each(own, 'passes')}"
    if not more:
        slow = any(value(row, "passes") != 1 for row in own)
        return (False if slow else None), said + ("" if slow else "; no recipe of more passes to compare speed with")
    least = min(own, key=lambda row: row["samples_per_second"]["value"])
    most = max(more, key=lambda row: row["samples_per_second"]["value"])
    quicker = least["samples_per_second"]["value"] > most["samples_per_second"]["value"]
    said += f"; samples a second: {_each([least, most], 'samples_per_second')}"
    return all(value(row, "passes") == 1 for row in own) and quicker, said


def misses_modes(own: Sequence[Row], others: Sequence[Row], baselines: dict[str, Row]) -> Found:
    """Recall below every other family's, beyond what seeds vary."""
    rest = [row for row in others if value(row, "recall") is not None]
    if lack := _lacking(own, "recall"):
        return None, lack
    if not rest:
        return None, "no recipe of another family has a recall to compare with"
    said = f"recall: {_each([*own, *rest], 'recall')}"
    pairs = [(a["recall"], b["recall"]) for a in own for b in rest]
    if not all(a["value"] < b["value"] for a, b in pairs):
        return False, said
    if any(len(x["each"]) < 2 for pair in pairs for x in pair):
        return None, said + "; lower, but one seed does not tell how much a seed changes"
    sure = all(apart(a, b) for a, b in pairs)
    return sure, said + ("" if sure else "; lower, but the ranges over seeds meet")


def stable(own: Sequence[Row], others: Sequence[Row], baselines: dict[str, Row]) -> Found:
    """No run failed, and the distance varies little over seeds."""
    failed = [row["recipe"] for row in own if row["reasons"]]
    if failed:
        return False, f"runs failed: {_names(failed)}"
    said = []
    for row in own:
        name = next((n for n in row if n.startswith("frechet_") and value(row, n) is not None), None)
        if name is None:
            return None, f"{row['recipe']} has no Fréchet distance"
        each = row[name]["each"]
        if len(each) < 2:
            return None, "it takes two seeds at least"
        mean = sum(each) / len(each)
        part = (sum((v - mean) ** 2 for v in each) / (len(each) - 1)) ** 0.5 / max(mean, 1e-12)
        said.append((row["recipe"], part))
    told = ", ".join(f"{name} {part:.1%}" for name, part in said)
    return all(part <= STABLE for _, part in said), f"standard deviation over mean of the Fréchet distance: {told}"


def covers(own: Sequence[Row], others: Sequence[Row], baselines: dict[str, Row]) -> Found:
    """Recall and coverage near what real training items reach."""
    if lack := _lacking(own, "recall", "coverage"):
        return None, lack
    said, good = [], True
    for name in ("recall", "coverage"):
        real = baselines.get(f"{name}/real")
        if real is None or real["value"] is None:
            return None, f"no {name} of real training items to compare with"
        good &= all(row[name]["value"] >= COVERS * real["value"] for row in own)
        said.append(f"{name}: {_each(own, name)}, real items {real['value']:.3g}")
    return good, "; ".join(said)


def some_steps(own: Sequence[Row], others: Sequence[Row], baselines: dict[str, Row]) -> Found:
    """20 or 50 steps are as good as the most, and the fewest are not."""
    said, good = [], True
    for row in own:
        rungs = {
            rung["steps"]: distance
            for rung in row["ladder"]
            for name, distance in rung.items()
            if name.startswith("frechet_") and distance is not None
        }
        middle = [rungs[s] for s in rungs if 20 <= s <= 50]
        if not middle or max(rungs) < MANY or min(rungs) >= 20:
            return None, f"{row['recipe']}: quality at few, at 20 to 50 and at {MANY} steps was not measured"
        last, first = rungs[max(rungs)], rungs[min(rungs)]
        good &= min(middle) <= NEAR * last and first > NEAR * last
        said.append(f"{row['recipe']} " + ", ".join(f"{d:.3g} in {s}" for s, d in sorted(rungs.items())))
    return good, "Fréchet distance by steps: " + "; ".join(said)


def as_many(own: Sequence[Row], others: Sequence[Row], baselines: dict[str, Row]) -> Found:
    """A pass for each place of a sample, within a factor of two."""
    if lack := _lacking(own, "passes", "positions"):
        return None, lack
    said = ", ".join(
        f"{row['recipe']} {row['passes']['value']:.4g} passes for {row['positions']['value']:.4g} places" for row in own
    )
    return all(0.5 <= row["passes"]["value"] / row["positions"]["value"] <= 2 for row in own), said


def smooth(own: Sequence[Row], others: Sequence[Row], baselines: dict[str, Row]) -> Found:
    """No step of a walk changes much more than the others."""
    if lack := _lacking(own, "walk"):
        return None, lack
    told = [row for row in others if value(row, "walk") is not None]
    said = f"largest step over the mean one: {_each([*own, *told], 'walk')}"
    return all(row["walk"]["value"] <= EVEN for row in own), said


def blurred(own: Sequence[Row], others: Sequence[Row], baselines: dict[str, Row]) -> Found:
    """Less sharp than real pictures, and than every other family's."""
    if lack := _lacking(own, "sharpness"):
        return None, lack
    rest = [row for row in others if value(row, "sharpness") is not None]
    said = f"sharpness, held-out pictures being 1: {_each([*own, *rest], 'sharpness')}"
    if any(row["sharpness"]["value"] >= BLURRED for row in own):
        return False, said
    return all(a["sharpness"]["value"] < b["sharpness"]["value"] for a in own for b in rest), said


CLAIMS = (
    Claim(
        "adversarial",
        "GANs draw a sample in one pass, and so the quickest",
        "one pass of the network a sample, and more samples a second than every recipe that takes more passes",
        "Goodfellow et al. 2014, Generative adversarial nets, arXiv 1406.2661",
        one_pass,
    ),
    Claim(
        "adversarial",
        "GANs miss modes",
        "recall below that of every recipe of other families, and the ranges over seeds do not meet",
        "Dhariwal and Nichol 2021, Diffusion models beat GANs, arXiv 2105.05233",
        misses_modes,
    ),
    Claim(
        "diffusion",
        "Diffusion is stable over seeds",
        f"no run failed, and the Fréchet distance's standard deviation over at least 2 seeds is at most {STABLE:.0%} "
        "of its mean",
        "Dhariwal and Nichol 2021, Diffusion models beat GANs, arXiv 2105.05233",
        stable,
    ),
    Claim(
        "diffusion",
        "Diffusion covers the distribution",
        f"recall and coverage at least {COVERS:.0%} of those that as many real training items reach",
        "Dhariwal and Nichol 2021, Diffusion models beat GANs, arXiv 2105.05233",
        covers,
    ),
    Claim(
        "diffusion",
        "Diffusion needs 20 to 50 steps",
        f"with 20 or 50 steps the Fréchet distance is within {NEAR - 1:.0%} of that with {MANY} or more, with the "
        "fewest it is not",
        "Song et al. 2021, Denoising diffusion implicit models, arXiv 2010.02502",
        some_steps,
    ),
    Claim(
        "autoregression",
        "Autoregression takes as many steps as a sample has places",
        "passes of the network a sample between half and twice the places that it fills",
        "van den Oord et al. 2016, Pixel recurrent neural networks, arXiv 1601.06759",
        as_many,
    ),
    Claim(
        "autoencoding",
        "A VAE's latent space is smooth",
        f"on a walk between two samples no step, in features, is over {EVEN:g} times the mean one (median of walks)",
        "Kingma and Welling 2014, Auto-encoding variational Bayes, arXiv 1312.6114",
        smooth,
    ),
    Claim(
        "autoencoding",
        "A VAE's samples are blurred",
        f"sharpness below {BLURRED:.0%} of held-out pictures' and below that of every recipe of other families",
        "Larsen et al. 2016, Autoencoding beyond pixels, arXiv 1512.09300",
        blurred,
    ),
)
