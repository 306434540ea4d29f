"""What an output matrix says of ids, against logits written down, in one block and in many; a network that scores."""

import pytest
import torch

from genus.core import STARTS, Batch, Network, Noise, Space, behind, next_logits, next_nats
from genus.networks import scores
from genus.networks.decoder import DecoderConfig
from genus.objectives.autoregression import Autoregression

CONFIG = DecoderConfig(depth=2, width=32, head=16, heads=2, kv_heads=1, hidden=48)


class Plain(Network):
    """A network whose logits are all that it says."""

    def __init__(self, net):
        super().__init__()
        self.net, self.space = net, net.space
        self.several = net.several

    def forward(self, x, t=None, cond=None, state=None):
        return self.net(x)


def gradients(h, weight, found):
    nats, z = found
    (nats * torch.linspace(0.5, 2, nats.numel()).view(nats.shape) + 0.3 * z.square()).sum().backward()
    grads = h.grad, weight.grad
    h.grad = weight.grad = None
    return grads


@pytest.mark.parametrize("rows", [1, 3, 100])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_scores_are_those_of_logits_and_so_are_gradients(rows, precision, monkeypatch):
    monkeypatch.setattr(scores, "BLOCK", 50 * rows)
    monkeypatch.setattr(scores, "PART", 100)
    torch.manual_seed(0)
    h = torch.randn(2, 5, 8).to(precision).requires_grad_()
    weight = torch.randn(50, 8).to(precision).requires_grad_()
    ids = torch.randint(0, 50, (2, 5))
    logits = (h @ weight.T).float()
    z = logits.logsumexp(-1)
    wanted = z - logits.gather(-1, ids[..., None])[..., 0], z
    found = scores.scored(h, weight, ids)
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if precision is torch.float32 else {"rtol": 0.03, "atol": 0.1}
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-5)
    for a, b in zip(gradients(h, weight, found), gradients(h, weight, wanted), strict=True):
        assert a.dtype == precision
        torch.testing.assert_close(a, b, **tolerance)


def test_the_backward_pass_may_come_twice():
    h, weight = torch.randn(4, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    nats, _ = scores.scored(h, weight, torch.arange(4))
    nats.sum().backward(retain_graph=True)
    first = h.grad.clone()
    nats.sum().backward()
    torch.testing.assert_close(h.grad, 2 * first)


def test_a_matrix_that_stands_still_gets_no_gradient():
    h, weight = torch.randn(4, 8, requires_grad=True), torch.randn(50, 8)
    scores.scored(h, weight, torch.arange(4))[0].sum().backward()
    assert h.grad is not None and weight.grad is None


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_a_network_that_scores_says_what_its_logits_say(apart, first, several, tied):
    """Loss, its gradient and likelihoods: cells that do not count and the begin mark among them."""
    torch.manual_seed(0)
    net = CONFIG.but(apart=apart, tied=tied).build(Space((12,), 1, 40))
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    mask = torch.rand(3, 1, 12) < 0.5
    mask[:, :, 0] = first
    mask[:, :, -1] = True
    x = torch.randint(0, 40, (3, 1, 12))
    extra = {}
    if several:
        starts = torch.zeros(3, 12, dtype=torch.bool)
        starts[:, [0, 5]] = True
        extra = {STARTS: starts}
    batch, seen = Batch(x, mask=mask, extra=extra, weight=torch.tensor([1.0, 2.0, 0.5])), []
    for one in (net, Plain(net)):
        loss, _ = Autoregression(z_loss=0.1).loss({"net": one}, batch, {}, "main")
        loss.backward()
        nats = Autoregression().log_prob({"net": one}, batch, Noise(0)).nats
        cells = Autoregression().cells({"net": one}, batch)
        seen.append((loss, nats, cells, [p.grad.clone() for p in net.parameters()]))
        net.zero_grad()
    for a, b in zip(seen[0], seen[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_one_cell_is_told_by_the_begin_mark():
    net = CONFIG.but(apart=True).build(Space((4,), 1, 40))
    batch = Batch(torch.tensor([[[3]], [[5]]]))
    nats, z = next_nats(net, batch, whole=True)
    logits = net(behind(batch.x, 40))
    torch.testing.assert_close(z, logits.logsumexp(-1))
    torch.testing.assert_close(nats, -logits.log_softmax(-1).gather(-1, batch.x[..., None])[..., 0])
    torch.testing.assert_close(next_logits(net, batch), logits)


def test_what_does_not_count_is_not_read_out(monkeypatch):
    """Only cells that count meet the output matrix, and the begin mark is not read for nothing."""
    net, met, read = CONFIG.but(apart=True).build(Space((12,), 1, 40)), [], []
    monkeypatch.setattr(scores, "taped", lambda function, h, *rest: met.append(len(h)) or function.apply(h, *rest))
    inner = net.read
    monkeypatch.setattr(net, "read", lambda ids, *rest: read.append(ids.shape[1]) or inner(ids, *rest))
    mask = torch.zeros(2, 1, 12, dtype=torch.bool)
    mask[0, 0, 4:7] = True
    Autoregression().loss({"net": net}, Batch(torch.randint(0, 40, (2, 1, 12)), mask=mask), {}, "main")
    assert met == [3] and read == [11]
