"""Settings of the bridge."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from tether.config import LoopbackAddress, ServiceConfig

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError("must be an origin such as https://chat.example.org; a wildcard would let every site in")
    return text


class Config(ServiceConfig):
    """What a bridge is told besides what every service is.

    Attributes:
        http: host:port of the HTTP server.
        cors_origins: origins whose pages may call; none unless named.
        keep_alive_s: time without an event after which a stream gets a comment, seconds.
        body_bytes_max: largest request body, bytes.
        body_timeout_s: longest wait for a whole body, seconds.
        answer_bytes_max: longest answer that is sent whole, bytes; streams have no limit.
        timeout_s: longest that a request may take, seconds.
        requests_max: requests at a time; more are shed.
    """

    http: LoopbackAddress = "127.0.0.1:7480"
    cors_origins: tuple[Annotated[str, AfterValidator(_origin)], ...] = Field(default=(), max_length=64)
    keep_alive_s: float = Field(default=10.0, ge=0.05, le=60)  # proxies cut what is silent for 30 to 60 seconds
    body_bytes_max: int = Field(default=4 << 20, ge=1_024, le=64 << 20)  # an input of 1 MiB, escaped, with room
    body_timeout_s: float = Field(default=30.0, gt=0, le=600)  # 4 MiB at 150 kB/s
    answer_bytes_max: int = Field(default=16 << 20, ge=1_024, le=256 << 20)  # a model's context is far below
    timeout_s: float = Field(default=600.0, gt=0, le=3_600)  # as OpenAI's clients wait
    requests_max: int = Field(default=2_048, ge=1, le=65_536)  # 2,048 streams of 100 KB are 200 MB (a guess)
