"""A student reaches what its teacher says where the data says something else; the parts of its loss."""

import math
from types import SimpleNamespace

import pytest
import torch

from genus.core import STARTS, Batch, Model, Noise, Roads, Space
from genus.errors import UsageError
from genus.learned.taught import logits
from genus.networks.transformer import TransformerConfig
from genus.objectives.autoregression import Autoregression
from genus.objectives.distillation import Distillation

SPACE = Space((8,), 1, 4)
NEXT = torch.tensor([[0.1, 0.6, 0.3, 0.0], [0.2, 0.2, 0.6, 0.0], [0.5, 0.25, 0.25, 0.0], [1 / 3, 1 / 3, 1 / 3, 0.0]])


def taught(x):
    """What a chain with these odds says of each cell; the first is as if 3 stood before it."""
    before = torch.cat([torch.full_like(x[:, :, :1], 3), x[:, :, :-1]], 2)
    return (NEXT + 1e-9).log()[before]


def batch(step):
    """Texts that go round 0, 1, 2: unlike the chain."""
    torch.manual_seed(step)
    x = (torch.randint(0, 3, (16, 1, 1)) + torch.arange(8)) % 3
    stray = torch.randint(0, 3, x.shape)
    return torch.where(torch.rand(x.shape) < 0.4, stray, x)


def learned(objective, teacher=True, steps=250):
    torch.manual_seed(0)
    net = TransformerConfig(depth=1, width=32, head=16).build(SPACE, Roads())
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    for step in range(steps):
        x = batch(step)
        extra = {"teacher": taught(x)} if teacher else {}
        loss, _ = objective.loss({"net": net}, Batch(x, extra=extra), {}, "main")
        adam.zero_grad()
        loss.backward()
        adam.step()
    x = batch(10_000)
    with torch.no_grad():
        said = net(torch.cat([torch.full_like(x[:, :, :1], 4), x[:, :, :-1]], 2)).log_softmax(-1)
    wanted = taught(x).exp()
    return float((wanted * (wanted.clamp(min=1e-9).log() - said)).sum(-1).mean())


def test_a_student_reaches_its_teacher():
    assert learned(Distillation(share=1.0, temperature=2.0)) < 0.01
    assert learned(Distillation(share=1.0, temperature=2.0), teacher=False) > 0.05  # the data says something else


@torch.no_grad()
def test_the_parts_of_the_loss():
    torch.manual_seed(0)
    nets = {"net": TransformerConfig(depth=1, width=32, head=16).build(SPACE, Roads())}
    torch.nn.init.normal_(nets["net"].embed.weight)
    x = batch(0)
    mask = torch.rand(x.shape) < 0.5
    told = Batch(x, mask=mask, extra={"teacher": taught(x)})
    plain, _ = Autoregression().loss(nets, Batch(x, mask=mask), {}, "main")
    for share, temperature in ((0.0, 1.0), (1.0, 1.0), (0.3, 3.0)):
        loss, said = Distillation(share=share, temperature=temperature).loss(nets, told, {}, "main")
        assert float(said["data"]) == pytest.approx(float(plain), rel=1e-5) and said["teacher"] > 0
        expected = (1 - share) * said["data"] + share * temperature**2 * said["teacher"]
        assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    whole = Distillation(share=0.5)
    parts = [told.part(0, 4), told.part(4, 16)]
    sums = [float(whole.loss(nets, part, {}, "main")[0]) * part.cells for part in parts]
    assert sum(sums) / told.cells == pytest.approx(float(whole.loss(nets, told, {}, "main")[0]), rel=1e-5)
    assert float(whole.loss(nets, Batch(x, mask=mask), {}, "main")[0]) == pytest.approx(float(plain), rel=1e-5)
    assert math.isfinite(float(whole.log_prob(nets, Batch(x), Noise(0)).nats[0]))


def test_a_teacher_of_other_ids_is_refused():
    nets = {"net": TransformerConfig(depth=1, width=32, head=16).build(SPACE, Roads())}
    with pytest.raises(UsageError, match="knows 5 ids and the student 4"):
        Distillation().loss(nets, Batch(batch(0), extra={"teacher": torch.zeros(16, 1, 8, 5)}), {}, "main")


def test_texts_that_stand_alone_are_heard_apart_by_student_and_teacher():
    torch.manual_seed(0)
    net = TransformerConfig(depth=1, width=32, head=16).build(SPACE, Roads())
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    codec, read = SimpleNamespace(space=SPACE, streams=True), Autoregression()
    model = Model(codec, SPACE, torch.nn.ModuleDict({"net": net}), read, read.sampler())
    x, starts = torch.randint(0, 3, (1, 1, 8)), torch.tensor([[1, 0, 0, 0, 0, 1, 0, 0]]).bool()
    apart = Batch(x, extra={STARTS: starts})
    parts = [Batch(x[:, :, :5]), Batch(x[:, :, 5:])]
    said = torch.cat([logits(model, part) for part in parts], 2).float()
    torch.testing.assert_close(logits(model, apart).float(), said, atol=0.05, rtol=0.05)
    assert (logits(model, Batch(x)).float() - said)[:, :, 5:].abs().max() > 0.3
    each = [
        Distillation().loss({"net": net}, Batch(part.x, extra={"teacher": said[:, :, at]}), {}, "main")[0]
        for part, at in zip(parts, (slice(0, 5), slice(5, 8)), strict=True)
    ]
    whole, _ = Distillation().loss({"net": net}, Batch(x, extra={STARTS: starts, "teacher": said}), {}, "main")
    torch.testing.assert_close(whole, (5 * each[0] + 3 * each[1]) / 8)
