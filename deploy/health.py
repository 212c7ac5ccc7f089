"""Exits 0 while the region of the state folder serves: asks the gateway's grpc.health.v1, as a load balancer would."""

import json
import os
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

LIMIT_S = 3.0  # under the container's own limit, so that the reason is printed


def main() -> int:
    """Return 0 where the gateway says SERVING."""
    try:
        endpoints = json.loads((Path(os.environ["TETHER_STATE"]) / "endpoints.json").read_text(encoding="utf-8"))
        with grpc.insecure_channel(endpoints["gateway"], options=[("grpc.enable_http_proxy", 0)]) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=LIMIT_S)
    except (OSError, KeyError, ValueError, grpc.RpcError) as error:
        sys.stderr.write(f"not serving: {error}\n")
        return 1
    return int(answer.status != health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    sys.exit(main())
