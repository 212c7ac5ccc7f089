"""The worker, put together: the only place that constructs its parts."""

from tether.app import App
from tether_worker.base import BaseWorker
from tether_worker.config import Config


def build(config: Config) -> App:
    """Compose a worker, or one that stands alone."""
    if config.standalone:
        from tether_worker.standalone import StandaloneWorker  # noqa: PLC0415 - benches and single machines alone

        return StandaloneWorker(config)
    return BaseWorker(config)
