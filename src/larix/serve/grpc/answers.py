"""All that can be asked for over gRPC, put together. Knows nothing of connections, nor of any of it."""

from larix.serve.grpc.call import Handler
from larix.serve.grpc.infer import Inference
from larix.serve.grpc.limits import GrpcLimits
from larix.serve.grpc.repository import SERVICE, Repository
from larix.serve.service import Service


def handlers(service: Service, limits: GrpcLimits) -> dict[str, dict[str, Handler]]:
    """What answers, by service and method."""
    found = Repository(service).handlers()
    found[SERVICE]["ModelInfer"] = Inference(service, limits).infer
    return found
