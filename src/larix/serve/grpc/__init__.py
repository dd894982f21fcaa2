"""The Open Inference Protocol over gRPC. Importing it needs no grpcio, starting a server does."""

from larix.serve.grpc.limits import GrpcLimits
from larix.serve.grpc.server import GrpcServer

__all__ = ["GrpcLimits", "GrpcServer"]
