"""Prometheus pages of the processes of a world: free ports for them, and what they say."""

import socket
import urllib.request


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def read_page(port: int) -> dict[str, float]:
    """Values without labels of a Prometheus page on loopback; nothing where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
    except OSError:
        return {}
    pairs = [line.split(" ") for line in lines if line and not line.startswith("#") and "{" not in line]
    return {name: float(value) for name, value in pairs}
