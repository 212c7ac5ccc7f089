"""The Python client: typed requests in, typed pieces and answers out, over `InferenceService`."""
