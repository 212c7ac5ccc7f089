"""ModelLoader: from a published version to verified files on this worker's disk."""

from tether_worker.loader.loader import ModelLoader
from tether_worker.loader.shelf import Shelf, State

__all__ = ["ModelLoader", "Shelf", "State"]
