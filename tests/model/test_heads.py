import torch

from larix.model.heads import Heads


def test_a_logit_depends_on_its_own_task_only() -> None:
    heads = Heads(6, 3, width=5)
    x = torch.randn(4, 3, 6, requires_grad=True)
    logits = heads(x)
    assert logits.shape == (4, 3)
    logits[:, 1].sum().backward()
    assert x.grad is not None
    assert x.grad[:, 1].abs().sum() > 0
    assert x.grad[:, [0, 2]].abs().sum() == 0


def test_no_two_tasks_share_a_weight() -> None:
    x = torch.randn(4, 1, 6).expand(4, 2, 6)
    logits = Heads(6, 2, width=5)(x)
    assert not torch.allclose(logits[:, 0], logits[:, 1])
