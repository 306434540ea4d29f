"""A trained run -> media, in memory or as files, each with its manifest. Not here: serving, judging.

Sample `index` of `seed` is the same whatever is drawn beside it, so drawing in pieces (flat memory), from the middle
(`first`) or one alone (`reproduction`) gives the same items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

from torch import Tensor

import genus
from genus import files
from genus.core import Model, Noise
from genus.deploy.origins import Given, Origin, Ready, medium
from genus.errors import UsageError
from genus.learned.contrast import Contrast
from genus.learned.draft import Draft, alike
from genus.media import Medium
from genus.provenance import manifest
from genus.provenance.manifest import Maker, Manifest
from genus.run import Run

#: So many at a time: a stream's memory grows with its length, an item that fills its space by itself is small.
STREAMS, ITEMS = 8, 16


@final
@dataclass(frozen=True)
class Generated:
    """files: written, in order; empty where text went to the caller alone. items: str, or facts about the rest.

    said: of each text, where it was asked for, what the model said of each of its ids.
    """

    files: list[Path]
    items: list[Any]
    said: list[dict[str, Any]] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        """{"files": [...], "items": [...]}, and "logprobs" if they were asked for."""
        told = {"files": [str(path) for path in self.files], "items": self.items}
        return {**told, "logprobs": self.said} if self.said else told


def maker(run: Run) -> Maker:
    """The facts that all samples of this run share; reads the weights once, for their digest."""
    beside = [run.path / name for name in ("tokenizer.json", "codec/model.safetensors")]  # by a codec, if it learned
    beside += sorted(run.path.glob("models/**/model.safetensors"))
    digests = [files.sha256(path) for path in beside if path.is_file()]
    if len(digests) > 1:
        digests = [hashlib.sha256("".join(digests).encode()).hexdigest()]
    return Maker(
        genus=genus.__version__,
        torch=version("torch"),
        run=run.name,
        run_path=str(run.path.resolve()),
        recipe=run.recipe.name,
        medium=run.medium,
        weights_sha256=files.sha256(run.path / "model.safetensors"),
        config_sha256=files.sha256(run.path / "config.json"),
        vocabulary_sha256=digests[0] if digests else None,
        data={name: run.data.get(name) for name in ("path", "version", "digest")},
    )


def noise(seed: int, indices: Sequence[int], latents: Tensor | None = None) -> Noise:
    """The randomness of these samples: the one place where a sample's address becomes its draws."""
    return Noise(seed, tuple(indices), latents)


def pieces(indices: Sequence[int], streams: bool) -> Iterator[tuple[int, ...]]:
    """The indices, so many at a time as are drawn together."""
    size = STREAMS if streams else ITEMS
    for start in range(0, len(indices), size):
        yield tuple(indices[start : start + size])


def draw(
    run: Run,
    prompt: str | None,
    seed: int,
    indices: Sequence[int],
    knobs: Mapping[str, Any],
    ready: Ready | None = None,
    model: Model | None = None,
) -> list[Any]:
    """These samples, drawn as one batch. A text that was cut inside a character ends before it.

    model: the run's, or one that draws the same (with a draft).
    """
    from genus.deploy import passage

    model, knobs = contrasted(model or run.model(), knobs)
    if any(knobs.get(name) is not None for name in passage.OURS):
        if ready is not None:
            raise UsageError(
                "what a text keeps to, ends at or is followed by is said of texts that start from a prompt alone"
            )
        grown = passage.whole(model, prompt, seed, indices, knobs)
        before, after = (prompt or "") * (model.prompt == "prefix"), knobs.get("suffix") or ""
        return [before + growth.text + after for growth in grown]
    given = Given() if ready is None else ready(indices)
    fields, known = model.ask(prompt, len(indices))
    if given.latents is not None:
        fields = model.plain(prompt, len(indices))
    items = model.generate(noise(seed, indices, given.latents), fields, given.known or known, **knobs)
    return [item.rstrip("\ufffd") if isinstance(item, str) else item for item in items]


def generate(
    run: Run,
    prompt: str | None,
    n: int,
    seed: int,
    out: Path | None,
    knobs: Mapping[str, Any],
    first: int = 0,
    start: Origin | None = None,
    progress: Callable[[float, float | None], object] | None = None,
    draft: Run | None = None,
    best_of: int | None = None,
) -> Generated:
    """Samples first .. first + n - 1 of `seed`.

    out: a folder (files are called RUN-SEED-INDEX.suffix, and never replace one with another content), or with n = 1
    a file of the medium's suffix (which is replaced). None: text goes to the caller alone, all else to the run's
    `samples/`. knobs: the sampler's own, and for texts `stop`, `suffix`, `schema`, `regex`, `grammar`,
    `thinking_budget`.
    start: what to start from. progress: told (done, n) after each piece. draft: a smaller run that guesses, which
    changes no sample. best_of: draw so many texts, and keep the n that the model finds likeliest, by log p an id.
    Raises `UsageError` for an `n`, a prompt, a knob or a file that will not do.
    """
    if n < 1:
        raise UsageError(f"n = {n}: ask for at least one sample")
    if first < 0:
        raise UsageError(f"first = {first}: samples are counted from 0")
    if prompt is not None and prompt != prompt.encode(errors="replace").decode():
        raise UsageError(f"the prompt {prompt!r} is not text: it holds bytes that are no UTF-8")
    kind = medium(run)
    single = _single(out, n, kind)
    by = maker(run)
    said = None if start is None else start.json()
    ready = None if start is None else start.ready(run, prompt)
    made = Generated([], [])
    model = run.model() if draft is None else drafted(run.model(), draft.path)
    chosen: Sequence[int] = range(first, first + n)
    knobs = {**model.settled, **knobs}
    model, plain = contrasted(model, knobs)
    if best_of is not None:
        chosen = likeliest(model, prompt, seed, range(first, first + best_of), n, plain)
    for batch in pieces(chosen, model.codec.streams):
        if plain.get("likeliest") is not None:
            made.said.extend(told(model, prompt, seed, batch, plain))
        for index, media in zip(batch, draw(run, prompt, seed, batch, plain, ready, model), strict=True):
            content = kind.write(media)
            sample = Manifest(by, seed, index, batch, manifest.digest(content), prompt, dict(knobs), start=said)
            if isinstance(media, str) and out is None:
                made.items.append(media)
                continue
            folder = out if out is not None else run.path / "samples"
            path = single or _free(folder, f"{run.name}-{seed}-{index}", kind.suffix, sample.sha256)
            made.files.append(manifest.write(path, content, sample))
            made.items.append(media if isinstance(media, str) else about(media, sample))
        if progress is not None:
            progress(len(made.items), n)
    return made


def drafted(model: Model, place: Path) -> Model:
    """The model with that of a smaller run to guess for it. Raises `UsageError` if they do not read the same ids."""
    alike(model.codec, place)
    return replace(model, wraps=(*model.wraps, Draft(place=str(place))))


def contrasted(model: Model, knobs: Mapping[str, Any]) -> tuple[Model, dict[str, Any]]:
    """The model told apart from a weaker one, if the knobs name its folder (`amateur`); and the other knobs.

    Raises `UsageError` if the two do not read the same ids.
    """
    rest = dict(knobs)
    place = rest.pop("amateur", None)
    if place is None:
        return model, rest
    alike(model.codec, Path(place))
    return replace(model, wraps=(*model.wraps, Contrast(place=str(place)))), rest


def told(
    model: Model, prompt: str | None, seed: int, indices: Sequence[int], knobs: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Of each text log p of its ids in nats, and the likeliest ids of each cell: `knobs` say how many."""
    from genus.deploy import passage

    def of(growth: passage.Growth) -> dict[str, Any]:
        each = zip(growth.ids, growth.said, strict=True)
        cells = [{"id": i, "logprob": s.log_p, "best": [list(pair) for pair in s.best]} for i, s in each]
        return {"sum": sum(s.log_p for s in growth.said), "tokens": cells}

    return [of(growth) for growth in passage.whole(model, prompt, seed, indices, knobs)]


def likeliest(
    model: Model, prompt: str | None, seed: int, indices: Sequence[int], n: int, knobs: Mapping[str, Any]
) -> list[int]:
    """Which n of these samples have the highest log p an id, highest first. Raises `UsageError` if they are fewer."""
    from genus.deploy import passage

    if len(indices) < n:
        raise UsageError(f"best of {len(indices)}: {n} were asked for; draw as many at least")
    grown: list[passage.Growth] = []
    for batch in pieces(indices, model.codec.streams):
        grown += passage.whole(model, prompt, seed, batch, {**knobs, "likeliest": 0})
    return [growth.index for growth in passage.best(grown, n)]


def about(media: Any, sample: Manifest) -> dict[str, Any]:
    """What is said of an item that is no text."""
    return {"seed": sample.seed, "index": sample.index, "shape": list(media.shape), "sha256": sample.sha256}


def _single(out: Path | None, n: int, kind: Medium) -> Path | None:
    """`out` if it names one file; None if it names a folder."""
    if out is None or out.is_dir() or not out.suffix:
        return None
    if out.suffix.lower() != kind.suffix:
        raise UsageError(f"{out}: {kind.name} is written as {kind.suffix}; name such a file, or a folder")
    if n > 1:
        raise UsageError(f"{out} is one file, and {n} samples were asked for; name a folder")
    return out


def _free(folder: Path, stem: str, suffix: str, sha256: str) -> Path:
    """A path that holds nothing, or this very content: other knobs under the same seed shall not eat earlier work."""
    path, turn = folder / f"{stem}{suffix}", 2
    while path.exists() and files.sha256(path) != sha256:
        path, turn = folder / f"{stem}-{turn}{suffix}", turn + 1
    return path
