"""The Open Inference Protocol's tensors and documents, shared by REST and gRPC."""

from larix.serve.oip.documents import model_config, model_metadata, repository_index, server_metadata
from larix.serve.oip.infer import Parameter, outputs_of, parameters_of, request_of, wanted_of
from larix.serve.oip.statistics import model_statistics
from larix.serve.oip.tensor import Tensor, from_raw, from_values

__all__ = [
    "Parameter",
    "Tensor",
    "from_raw",
    "from_values",
    "model_config",
    "model_metadata",
    "model_statistics",
    "outputs_of",
    "parameters_of",
    "repository_index",
    "request_of",
    "server_metadata",
    "wanted_of",
]
