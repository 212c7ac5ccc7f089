"""How Tether speaks gRPC: servers, channels, errors and reflection."""
