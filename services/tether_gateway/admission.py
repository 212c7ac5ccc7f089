"""Admission: who asks, for what, and whether they may, decided from the raw bytes and the call's metadata.

No I/O: the catalogue is in memory, time is an argument, chance is `rng`. The request is cut once, natively; what
goes on is its header.
Source: docs/design/streams.md §1 steps 1 to 3.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import DecodeError

from tether import _native, name, rules
from tether.errors import Reason, TetherError
from tether.placement.budget import RetryBudget
from tether.policy import Policies, Subject, enforce, evaluate
from tether.rules.content import check_input
from tether.rules.request import check_trace_id
from tether.v1 import infer_pb2, placement_pb2, registry_pb2
from tether_gateway.config import Config
from tether_gateway.demand import TENANTS_MAX, Demands, Minutes
from tether_gateway.throttle import KeyThrottle

_BEARER = "bearer "
_ATTEMPT_KEYS = ("grpc-previous-rpc-attempts", "x-stainless-retry-count")  # gRPC's own retries, and OpenAI's clients
_ATTEMPTS_MAX = 1_000  # of a client's own count; more says nothing more
_SEALED = 4  # field number of `Infer.Input.sealed`
_RETRY_RATIO = 0.18  # with the first that everybody has, and the floor, within a fifth
_RESUMES_PER_S, _RESUMES_BURST = 20.0, 1_000.0  # of a tenant: as many as a lost gateway had of it, then a trickle
_BUDGET_WAIT_S = 5.0  # a quiet tenant earns one retry in this time


class Catalogue(Protocol):
    """What admission needs of `tether.registry.Catalogue`."""

    def authenticate(self, token: str, now_s: float) -> registry_pb2.Tenant:
        """The tenant of a key."""

    def model(self, model_id: str, version: str = "") -> registry_pb2.Model:
        """A version of a model."""

    def policies(self) -> Policies:
        """Rules that hold."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What came with a call.

    Attributes:
        metadata: lower-case keys; of a repeated key the last value.
        source: where the call comes from, without its port.
        time_left_s: the call's own deadline, seconds from now, or None.
    """

    metadata: Mapping[str, str]
    source: str
    time_left_s: float | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may run.

    Attributes:
        raw: the request as sent.
        header: without its input, with names filled in; its timeout is set anew at each placement.
        retry_token: as sent or drawn.
        deadline_s: when the job must end, monotonic seconds.
        trace_id: 32 hex digits, or empty.
    """

    raw: bytes
    header: placement_pb2.Header
    retry_token: str
    deadline_s: float
    trace_id: str

    @property
    def tenant(self) -> str:
        """Tenant that pays."""
        return self.header.tenant_id

    @property
    def correlation_id(self) -> str:
        """Name of the request."""
        return self.header.correlation_id


class Admission:
    """Admits requests of one gateway.

    Args:
        catalogue: tenants, keys and models.
        config: limits.
        draw: makes a name of 32 hex digits that nobody guesses.
    """

    def __init__(self, catalogue: Catalogue, config: Config, draw: Callable[[], str]) -> None:
        self._catalogue = catalogue
        self._config = config
        self._draw = draw
        self._throttle = KeyThrottle(config.wrong_keys_max, config.wrong_key_refill_s)
        self._retries = RetryBudget(_RETRY_RATIO)
        self._resumes = _native.Buckets(_RESUMES_PER_S, _RESUMES_BURST, TENANTS_MAX)
        self.demands = Demands()
        self.minutes = Minutes()

    def authenticate(self, asked: Asked, now_s: float, wall_s: float) -> registry_pb2.Tenant:
        """The tenant that calls.

        Args:
            asked: what came with the call.
            now_s: monotonic seconds.
            wall_s: seconds since the Unix epoch.

        Raises:
            TetherError: KEY_MISSING, KEY_INVALID, TENANT_SUSPENDED, TOO_MANY_ATTEMPTS.
        """
        given = asked.metadata.get("authorization", "")
        if not given:
            raise TetherError(Reason.KEY_MISSING, "The call carries no key.")
        if given[: len(_BEARER)].lower() != _BEARER:
            raise TetherError(Reason.KEY_INVALID, "The authorization is no bearer key.")
        token = given[len(_BEARER) :].strip()
        self._throttle.check(asked.source, token, now_s)
        try:
            tenant = self._catalogue.authenticate(token, wall_s)
        except TetherError as error:
            if error.reason is Reason.KEY_INVALID:
                self._throttle.wrong(asked.source, now_s)
            raise
        self._throttle.good(asked.source, token)
        return tenant

    def admit(
        self,
        raw: bytes,
        asked: Asked,
        now_s: float,
        wall_s: float,
        known: "Callable[[Admitted], bool] | None" = None,
    ) -> Admitted:
        """Admit one request, or refuse it.

        Args:
            raw: serialized `Infer.Request`.
            asked: what came with the call.
            now_s: monotonic seconds.
            wall_s: seconds since the Unix epoch.
            known: whether a request only reads what runs already, so that it is not charged.

        Raises:
            TetherError: whatever rule it breaks.
        """
        tenant = self.authenticate(asked, now_s, wall_s)
        try:
            cut = _native.cut_request(raw, tenant.name)
        except ValueError as fault:
            raise TetherError(Reason.MALFORMED, "The request is no valid message.") from fault
        rules.check_cut(cut.unknown, cut.input_kind, utf8=cut.utf8)
        if cut.tenant_id not in ("", tenant.name):
            raise TetherError(Reason.TENANT_MISMATCH, "The key belongs to another tenant.", field="tenant_id")
        header = placement_pb2.Header.FromString(cut.header)
        header.sealed = cut.input_kind == _SEALED
        header.previous_attempts = previous_attempts(asked.metadata)
        self._check(header, cut, raw)
        admitted = self._named(raw, header, asked, cut.trace_id, now_s)
        if known is None or not known(admitted):
            self._check_policy(header)
            self._charge(tenant, header.previous_attempts, now_s)
        return admitted

    def resume(self, tenant: str, now_s: float) -> None:
        """Count a reader that comes back to a job that is not here.

        Raises:
            TetherError: RATE_LIMITED for more than come from a whole gateway that was lost.
        """
        wait_s = self._resumes.take(tenant, 1.0, now_s)
        if wait_s > 0.0:
            raise TetherError(Reason.RATE_LIMITED, "The tenant resumes too often.", retry_after_s=wait_s)

    def _check_policy(self, header: placement_pb2.Header) -> None:
        """What the orchestrator would refuse, refused here; and content that must not be in this region."""
        subject = Subject(header.tenant_id, header.model_id, header.priority)
        decision = evaluate(self._catalogue.policies(), subject)
        enforce(decision, sealed=header.sealed)
        if decision.residency is not None and self._config.region not in decision.residency:
            message = f"Policy forbids it: its content must not come to region {self._config.region}."
            raise TetherError(Reason.POLICY_FORBIDS, message)

    def retry(self, tenant: str, now_s: float) -> float | None:
        """Spend a retry of a tenant, for an attempt that repeats what an engine failed.

        Returns:
            None where it may go out; else seconds after which one is earned.
        """
        return None if self._retries.retry(tenant, now_s) else _BUDGET_WAIT_S

    def _charge(self, tenant: registry_pb2.Tenant, previous_attempts: int, now_s: float) -> None:
        """Count a request that starts something: towards the tenant's minute, and a repeat towards its retries."""
        if not previous_attempts:
            self._retries.offer(tenant.name, now_s)
        elif not self._retries.retry(tenant.name, now_s):
            message = "The tenant's repeats are over a fifth of its requests."
            raise TetherError(Reason.RATE_LIMITED, message, retry_after_s=_BUDGET_WAIT_S)
        self._take(tenant, now_s)

    def _check(self, header: placement_pb2.Header, cut: "_native.CutRequest", raw: bytes) -> None:
        """All rules of the contract; the input is parsed only once its size is known to be fine."""
        if cut.trace_id:
            check_trace_id(cut.trace_id)
        name.model(header.model_id)
        if header.version:
            name.version(header.version)
        model = self._catalogue.model(header.model_id, header.version)
        rules.check_header(header, rules.Limits(self._config.input_bytes_max, model.context_tokens))
        rules.check_supported(header, model.capabilities, cut.input_kind)
        try:
            check_input(infer_pb2.Infer.Request.FromString(raw).input)
        except DecodeError as fault:
            raise TetherError(Reason.MALFORMED, "The request is no valid message.") from fault

    def _take(self, tenant: registry_pb2.Tenant, now_s: float) -> None:
        """Take one request from the tenant's minute."""
        rate = tenant.quota.requests_per_minute
        if not rate:
            return
        self.demands.note(tenant.name)
        wait_s = self.minutes.take(tenant.name, rate, now_s)
        if wait_s > 0.0:
            message = f"The tenant's {rate} requests per minute are used up."
            raise TetherError(Reason.RATE_LIMITED, message, retry_after_s=wait_s)

    def _named(self, raw: bytes, header: placement_pb2.Header, asked: Asked, trace_id: str, now_s: float) -> Admitted:
        """Fill in names and deadline."""
        retry_token = header.retry_token
        if not header.correlation_id:
            header.correlation_id, header.retry_token = self._draw(), self._draw()
            retry_token = header.retry_token
        asked_s = header.timeout.ToMilliseconds() / 1_000 if header.HasField("timeout") else None
        wishes = [wish for wish in (asked_s, asked.time_left_s) if wish is not None]
        timeout_s = min(wishes) if wishes else self._config.timeout_default_s
        if timeout_s <= 0:
            raise TetherError(Reason.DEADLINE, "The deadline is over before the request began.")
        return Admitted(raw, header, retry_token, now_s + min(timeout_s, rules.request.TIMEOUT_S_MAX), trace_id)


def previous_attempts(metadata: Mapping[str, str]) -> int:
    """Attempts that a client made before this one, as it says."""
    told = [metadata[key] for key in _ATTEMPT_KEYS if metadata.get(key, "").isdecimal()]
    return max((min(int(one[:9]), _ATTEMPTS_MAX) for one in told), default=0)
