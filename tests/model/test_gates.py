import numpy as np
import pytest
import torch

from larix.errors import ConfigError
from larix.model.gates import MMoE, MMoEConfig, SceneGate


def test_mmoe_equals_a_plain_numpy_reference() -> None:
    mmoe = MMoE(5, 3, MMoEConfig(experts=4, widths=(7, 6)))
    x = torch.randn(9, 5)
    state = {name: value.numpy().astype(np.float64) for name, value in mmoe.state_dict().items()}
    expected = np.zeros((9, 3, 6))
    for i, row in enumerate(x.numpy().astype(np.float64)):
        experts = []
        for e in range(4):
            hidden = np.maximum(state[f"experts.{e}.0.weight"] @ row + state[f"experts.{e}.0.bias"], 0)
            experts.append(
                np.maximum(state[f"experts.{e}.2.weight"] @ hidden + state[f"experts.{e}.2.bias"], 0)
            )
        logits = (state["gate.weight"] @ row + state["gate.bias"]).reshape(3, 4)
        for t in range(3):
            gate = np.exp(logits[t]) / np.exp(logits[t]).sum()
            expected[i, t] = sum(gate[e] * experts[e] for e in range(4))
    np.testing.assert_allclose(mmoe(x).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_each_task_has_a_gate_of_its_own() -> None:
    out = MMoE(5, 2, MMoEConfig(experts=3, widths=(6,)))(torch.randn(8, 5))
    assert not torch.allclose(out[:, 0], out[:, 1])


def test_the_scene_gate_is_born_as_the_identity() -> None:
    x = torch.randn(6, 5)
    assert torch.equal(SceneGate(3, 5)(torch.randn(6, 3), x), x)


def trained_gate() -> SceneGate:
    gate = SceneGate(3, 5)
    torch.nn.init.normal_(gate.scale.weight)
    return gate


def test_the_scene_scales_each_column_by_0_to_2() -> None:
    gate, x = trained_gate(), torch.ones(50, 5)
    scaled = gate(torch.randn(50, 3) * 9, x)
    assert scaled.min() >= 0
    assert scaled.max() <= 2
    assert scaled.std(dim=0).min() > 0.1


def test_the_gate_sends_no_gradient_into_x_but_through_the_product() -> None:
    gate, scene = trained_gate(), torch.randn(6, 3)
    x = torch.randn(6, 5, requires_grad=True)
    scaled = gate(scene, x)
    scaled.sum().backward()
    torch.testing.assert_close(x.grad, (scaled / x).detach())


def test_an_mmoe_without_experts_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"MMoEConfig\.experts is 0"):
        MMoEConfig(experts=0)
