"""onnxruntime, imported with its telemetry off.

From 1.30 on onnxruntime reports usage by default; the switch is read when its library is first loaded, so every other
module of the worker imports it from here.
"""

import os
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime  # type: ignore[import-untyped]

ort: Any = onnxruntime  # it has no types
ort.disable_telemetry_events()

__all__ = ["ort"]
