"""Rankers and what they are made of: plain PyTorch modules over looked-up vectors, and how well they rank."""

from larix.model.attention import AttentionConfig, TargetAttention
from larix.model.embed import Embed
from larix.model.gates import MMoE, MMoEConfig, SceneGate
from larix.model.heads import Heads
from larix.model.history import HistoryConfig, HistoryReader
from larix.model.inputs import Inputs, SequenceInput
from larix.model.loss import Loss, LossConfig
from larix.model.metrics import Metrics
from larix.model.mlp import MLP, MLPConfig, MLPRanker
from larix.model.ranker import Ranker, RankerConfig

__all__ = [
    "MLP",
    "AttentionConfig",
    "Embed",
    "Heads",
    "HistoryConfig",
    "HistoryReader",
    "Inputs",
    "Loss",
    "LossConfig",
    "MLPConfig",
    "MLPRanker",
    "MMoE",
    "MMoEConfig",
    "Metrics",
    "Ranker",
    "RankerConfig",
    "SceneGate",
    "SequenceInput",
    "TargetAttention",
]
