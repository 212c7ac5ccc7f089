"""What every service stands on: identity, overlay, gRPC server and channels, composed once for all five."""
