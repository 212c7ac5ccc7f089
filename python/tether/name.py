"""Names: the grammar of models, versions, regions, tenants, jobs and topics.

A name that breaks its rule is refused before any work is done with it, so that no path, URL or control character ever
travels inside one.
Source: RFC 1123 labels for slugs; RFC 4648 base32 for node ids; `docs/design/design.md` §1 for topics.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from tether.errors import Reason, TetherError

MODEL_BYTES_MAX = 63  # fits a DNS label, so that a name can become a host name or a file name anywhere
TENANT_BYTES_MAX = 63  # as a model
SLUG_BYTES_MAX = 31  # of a region: in a topic with a model of 63 it stays far under 255 bytes
TOKEN_BYTES_MAX = 128  # correlation ids: two UUIDs and a prefix fit
TOPIC_BYTES_MAX = 255  # a file name's limit, which storers may rely on
NAMES_SEARCHED_MAX = 1_000  # similarity costs about 10 µs a name; a typo must stay cheaper than a request
JOB_BYTES = 16

_MODEL = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_VERSION = re.compile(r"(?:0|[1-9][0-9]{0,5})\.(?:0|[1-9][0-9]{0,5})")
_TOKEN = re.compile(r"[!-~]+")
_NODE = re.compile(r"[a-z2-7]{52}")
_JOB = re.compile(r"[0-9a-f]{32}")
_KEY = re.compile(r"[0-9a-f]{16}")


def is_model(text: str) -> bool:
    """Tell whether `text` is a model name: lower-case letters, digits, single dots and hyphens, 1 to 63 bytes."""
    return len(text) <= MODEL_BYTES_MAX and _MODEL.fullmatch(text) is not None and ".." not in text


def is_version(text: str) -> bool:
    """Tell whether `text` is MAJOR.MINOR without leading zeros, each below a million."""
    return _VERSION.fullmatch(text) is not None


def is_region(text: str) -> bool:
    """Tell whether `text` is a region slug such as `eu-west`, 1 to 31 bytes."""
    return is_slug(text)


def is_slug(text: str) -> bool:
    """Tell whether `text` is a slug: lower-case letters, digits and inner hyphens, 1 to 31 bytes."""
    return len(text) <= SLUG_BYTES_MAX and _SLUG.fullmatch(text) is not None


def is_tenant(text: str) -> bool:
    """Tell whether `text` is a tenant id: lower-case letters, digits and inner hyphens, 1 to 63 bytes."""
    return len(text) <= TENANT_BYTES_MAX and _SLUG.fullmatch(text) is not None


def is_token(text: str) -> bool:
    """Tell whether `text` may be a correlation id or retry token: 1 to 128 visible ASCII characters."""
    return len(text) <= TOKEN_BYTES_MAX and _TOKEN.fullmatch(text) is not None


def is_node(text: str) -> bool:
    """Tell whether `text` is a node id: 52 characters of lower-case base32."""
    return _NODE.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Tell whether `text` is the id of an API key: 16 lower-case hex digits."""
    return _KEY.fullmatch(text) is not None


def model(text: str, field: str = "model_id") -> str:
    """Return `text` if it is a model name.

    Raises:
        TetherError: INVALID_FIELD at `field`.
    """
    rule = "lower-case letters, digits, dots and hyphens, 1 to 63 bytes, such as llama3.1-8b"
    return _checked(text, ok=is_model(text), field=field, rule=rule)


def version(text: str, field: str = "version") -> str:
    """Return `text` if it is a version, MAJOR.MINOR.

    Raises:
        TetherError: INVALID_FIELD at `field`.
    """
    return _checked(text, ok=is_version(text), field=field, rule="MAJOR.MINOR without leading zeros, such as 1.0")


def region(text: str, field: str = "region") -> str:
    """Return `text` if it is a region slug.

    Raises:
        TetherError: INVALID_FIELD at `field`.
    """
    rule = "lower-case letters, digits and inner hyphens, 1 to 31 bytes, such as eu-west"
    return _checked(text, ok=is_region(text), field=field, rule=rule)


def tenant(text: str, field: str = "tenant_id") -> str:
    """Return `text` if it is a tenant id.

    Raises:
        TetherError: INVALID_FIELD at `field`.
    """
    rule = "lower-case letters, digits and inner hyphens, 1 to 63 bytes"
    return _checked(text, ok=is_tenant(text), field=field, rule=rule)


def model_and_version(text: str, field: str = "model") -> tuple[str, str]:
    """Split `name` or `name:version`; the version is empty where none is given.

    Raises:
        TetherError: INVALID_FIELD at `field`.
    """
    head, colon, tail = text.partition(":")
    return model(head, field), version(tail, field) if colon else ""


def job_hex(job_id: bytes) -> str:
    """Write a job id of 16 bytes as 32 hex digits."""
    if len(job_id) != JOB_BYTES:
        raise _refusal("job_id", f"{len(job_id)} bytes", "16 bytes")
    return job_id.hex()


def job_id(text: str, field: str = "job_id") -> bytes:
    """Read a job id from 32 lower-case hex digits.

    Raises:
        TetherError: INVALID_FIELD at `field`.
    """
    return bytes.fromhex(_checked(text, ok=_JOB.fullmatch(text) is not None, field=field, rule="32 hex digits"))


class TopicKind(Enum):
    """What a topic is about; values are the second segment of its name."""

    PRESENCE = "presence"
    MODELS = "models"
    CONTROL = "control"
    JOBS = "jobs"


@dataclass(frozen=True, slots=True)
class Topic:
    """A parsed topic name.

    Attributes:
        kind: what it is about.
        region: its region; empty for jobs.
        model: model name; only of models topics.
        version: model version; only of models topics.
        job_id: 16 bytes; only of jobs topics.
    """

    kind: TopicKind
    region: str = ""
    model: str = ""
    version: str = ""
    job_id: bytes = b""

    def __str__(self) -> str:
        match self.kind:
            case TopicKind.MODELS:
                return f"tether/models/{self.model}/{self.version}/{self.region}"
            case TopicKind.JOBS:
                return f"tether/jobs/{self.job_id.hex()}"
            case _:
                return f"tether/{self.kind.value}/{self.region}"


def presence_topic(region_slug: str) -> str:
    """Name the topic on which the nodes of a region say that they are there."""
    return f"tether/presence/{region(region_slug)}"


def control_topic(region_slug: str) -> str:
    """Name the topic on which a region's control plane speaks."""
    return f"tether/control/{region(region_slug)}"


def models_topic(model_id: str, model_version: str, region_slug: str) -> str:
    """Name the topic on which a region's workers offer a version of a model."""
    return f"tether/models/{model(model_id)}/{version(model_version)}/{region(region_slug)}"


def job_topic(job: bytes) -> str:
    """Name the topic on which the holder of a job's chunk log says so."""
    return f"tether/jobs/{job_hex(job)}"


def parse_topic(text: str) -> Topic:
    """Parse a topic name; the inverse of `str(Topic)`.

    Raises:
        TetherError: INVALID_FIELD at `topic`.
    """
    if len(text) <= TOPIC_BYTES_MAX:
        match text.split("/"):
            case ["tether", "presence" | "control" as kind, slug]:
                return Topic(TopicKind(kind), region=region(slug, "topic"))
            case ["tether", "models", name, number, slug]:
                where, what = region(slug, "topic"), model(name, "topic")
                return Topic(TopicKind.MODELS, where, what, version(number, "topic"))
            case ["tether", "jobs", job]:
                return Topic(TopicKind.JOBS, job_id=job_id(job, "topic"))
    raise _refusal("topic", _shown(text), "such as tether/presence/eu-west")


def nearest(name: str, names: Iterable[str], limit: int = 3) -> list[str]:
    """Return the names most like `name`, best first: what a typo may have meant.

    Args:
        name: what was asked for.
        names: what there is; only the first 1,000 are compared.
        limit: most names to return.
    """
    return difflib.get_close_matches(name[:TOPIC_BYTES_MAX], islice(names, NAMES_SEARCHED_MAX), n=limit, cutoff=0.5)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a sentence that suggests the nearest names with a space before it, or nothing where none is near."""
    found = nearest(name, names)
    return f" Did you mean {' or '.join(found)}?" if found else ""


def _checked(text: str, *, ok: bool, field: str, rule: str) -> str:
    """Return `text` if `ok`, else refuse it with its rule."""
    if not ok:
        raise _refusal(field, _shown(text), rule)
    return text


def _shown(text: str) -> str:
    """Quote a refused name, cut short and with nothing unprintable in it."""
    return ascii(text[:40]) + ("…" if len(text) > 40 else "")


def _refusal(field: str, found: str, rule: str) -> TetherError:
    return TetherError(Reason.INVALID_FIELD, f"{field} is {found}; it must be {rule}.", field=field)
