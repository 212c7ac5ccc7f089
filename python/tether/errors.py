"""The closed set of errors: one reason, one code each, and what the caller may do next, in one table.

A `TetherError` is raised where a rule is broken; edges map it by `TABLE` to gRPC, HTTP and exit codes. Its message is
for the caller and never holds secrets or content; the internal cause goes to the log.
Source: google.rpc.Code and google.rpc.ErrorInfo; AIP-193.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

DOMAIN = "tether"


class Code(Enum):
    """google.rpc codes that Tether uses."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class Row:
    """What a reason means at each edge.

    Attributes:
        code: google.rpc code.
        http: HTTP status.
        exit: exit code of the command line.
        advice: what the caller may do next, one sentence.
        again: whether the same call may succeed later, unchanged.
    """

    code: Code
    http: int
    exit: int
    advice: str
    again: bool = False


class Reason(Enum):
    """Why a call failed; names equal those of `tether.v1.ErrorReason` without their prefix."""

    INVALID_FIELD = 1
    UNKNOWN_FIELD = 2
    MALFORMED = 3
    TOO_LARGE = 4
    KEY_MISSING = 5
    KEY_INVALID = 6
    TENANT_MISMATCH = 7
    TENANT_SUSPENDED = 8
    NODE_TOKEN_INVALID = 9
    ROLE_FORBIDDEN = 10
    MODEL_UNKNOWN = 11
    VERSION_UNKNOWN = 12
    JOB_UNKNOWN = 13
    JOB_CONFLICT = 14
    RATE_LIMITED = 15
    QUOTA_EXCEEDED = 16
    OVERLOADED = 17
    NO_WORKER = 18
    NO_ORCHESTRATOR = 19
    WORKER_LOST = 20
    SETTLEMENT_FAILED = 21
    STORE_UNAVAILABLE = 22
    DRAINING = 23
    DEADLINE = 24
    JOB_CANCELLED = 25
    ANSWER_NOT_KEPT = 26
    JOB_FAILED = 27
    STREAM_DIVERGED = 28
    CONTEXT_EXCEEDED = 29
    UNSUPPORTED = 30
    TICKET_INVALID = 31
    STALE_EPOCH = 32
    ARTIFACT_CORRUPT = 33
    ARTIFACT_UNTRUSTED = 34
    BLOB_UNKNOWN = 35
    ACCESS_UNKNOWN = 36
    NAME_TAKEN = 37
    STATE_UNUSABLE = 38
    INTERNAL = 39
    ENGINE_FAILED = 40
    LINK_PROTOCOL = 41
    METHOD_UNKNOWN = 42
    HOME_UNREACHABLE = 43
    PORT_IN_USE = 44
    TOO_MANY_ATTEMPTS = 45
    UNREACHABLE = 46
    POISON = 47
    POLICY_FORBIDS = 48
    CURSOR_INVALID = 49
    SCHEMA_INVALID = 50
    STORE_UNUSABLE = 51
    STORE_CORRUPT = 52


_USAGE, _AUTH, _MISSING, _CONFLICT, _BUSY, _DOWN, _DATA, _FAULT = 2, 3, 4, 5, 6, 7, 8, 70

TABLE: Mapping[Reason, Row] = {
    Reason.INVALID_FIELD: Row(Code.INVALID_ARGUMENT, 400, _USAGE, "Correct the field and send again."),
    Reason.UNKNOWN_FIELD: Row(Code.INVALID_ARGUMENT, 400, _USAGE, "Remove the field, or use a newer gateway."),
    Reason.MALFORMED: Row(Code.INVALID_ARGUMENT, 400, _USAGE, "Send a valid message."),
    Reason.TOO_LARGE: Row(Code.INVALID_ARGUMENT, 413, _USAGE, "Send less."),
    Reason.KEY_MISSING: Row(Code.UNAUTHENTICATED, 401, _AUTH, "Send `authorization: Bearer KEY`."),
    Reason.KEY_INVALID: Row(Code.UNAUTHENTICATED, 401, _AUTH, "Use a valid key; `tether keys` makes one."),
    Reason.TENANT_MISMATCH: Row(Code.PERMISSION_DENIED, 403, _AUTH, "Leave tenant_id empty, or use the tenant's key."),
    Reason.TENANT_SUSPENDED: Row(Code.PERMISSION_DENIED, 403, _AUTH, "Ask the operator."),
    Reason.NODE_TOKEN_INVALID: Row(Code.UNAUTHENTICATED, 401, _AUTH, "Check clock, credential and receiver."),
    Reason.ROLE_FORBIDDEN: Row(Code.PERMISSION_DENIED, 403, _AUTH, "Use a credential with a role that may."),
    Reason.MODEL_UNKNOWN: Row(Code.NOT_FOUND, 404, _MISSING, "Use a published model; `tether models ls` lists them."),
    Reason.VERSION_UNKNOWN: Row(Code.NOT_FOUND, 404, _MISSING, "Use a published version, or none for the newest."),
    Reason.JOB_UNKNOWN: Row(Code.NOT_FOUND, 404, _MISSING, "Check the id or the key of the job."),
    Reason.JOB_CONFLICT: Row(Code.ALREADY_EXISTS, 409, _CONFLICT, "Use a new correlation id for a new request."),
    Reason.RATE_LIMITED: Row(Code.RESOURCE_EXHAUSTED, 429, _BUSY, "Wait as told, then send again.", again=True),
    Reason.QUOTA_EXCEEDED: Row(Code.RESOURCE_EXHAUSTED, 429, _BUSY, "Wait for the quota, or ask for more.", again=True),
    Reason.OVERLOADED: Row(Code.RESOURCE_EXHAUSTED, 429, _BUSY, "Wait as told, then send again.", again=True),
    Reason.NO_WORKER: Row(Code.UNAVAILABLE, 503, _DOWN, "Start a worker for the model, or wait.", again=True),
    Reason.NO_ORCHESTRATOR: Row(Code.UNAVAILABLE, 503, _DOWN, "Start an orchestrator, or wait.", again=True),
    Reason.WORKER_LOST: Row(Code.UNAVAILABLE, 503, _DOWN, "Send again with the same key.", again=True),
    Reason.SETTLEMENT_FAILED: Row(Code.UNAVAILABLE, 503, _DOWN, "Send again with the same key.", again=True),
    Reason.STORE_UNAVAILABLE: Row(Code.UNAVAILABLE, 503, _DOWN, "Send again with the same key.", again=True),
    Reason.DRAINING: Row(Code.UNAVAILABLE, 503, _DOWN, "Send to another address.", again=True),
    Reason.DEADLINE: Row(Code.DEADLINE_EXCEEDED, 504, _DOWN, "Give more time."),
    Reason.JOB_CANCELLED: Row(Code.CANCELLED, 499, _CONFLICT, "Use a new correlation id to run it again."),
    Reason.ANSWER_NOT_KEPT: Row(Code.FAILED_PRECONDITION, 409, _CONFLICT, "Use a new correlation id to run it again."),
    Reason.JOB_FAILED: Row(Code.FAILED_PRECONDITION, 409, _CONFLICT, "Use a new correlation id to run it again."),
    Reason.STREAM_DIVERGED: Row(Code.ABORTED, 409, _CONFLICT, "Use a new correlation id to run it again."),
    Reason.CONTEXT_EXCEEDED: Row(Code.INVALID_ARGUMENT, 400, _USAGE, "Shorten the prompt or lower max_tokens."),
    Reason.UNSUPPORTED: Row(Code.UNIMPLEMENTED, 501, _USAGE, "Ask for something the model can do."),
    Reason.TICKET_INVALID: Row(Code.FAILED_PRECONDITION, 409, _CONFLICT, "Ask for a new place."),
    Reason.STALE_EPOCH: Row(Code.ABORTED, 409, _CONFLICT, "Read along with the newest attempt."),
    Reason.ARTIFACT_CORRUPT: Row(Code.DATA_LOSS, 500, _DATA, "Publish or fetch the artifact again."),
    Reason.ARTIFACT_UNTRUSTED: Row(Code.PERMISSION_DENIED, 403, _AUTH, "Sign it with a publisher of this network."),
    Reason.BLOB_UNKNOWN: Row(Code.NOT_FOUND, 404, _MISSING, "Push the blob first."),
    Reason.ACCESS_UNKNOWN: Row(Code.NOT_FOUND, 404, _MISSING, "Check the name; `tether tenants ls` lists them."),
    Reason.NAME_TAKEN: Row(Code.ALREADY_EXISTS, 409, _CONFLICT, "Choose another name."),
    Reason.STATE_UNUSABLE: Row(Code.FAILED_PRECONDITION, 500, _DATA, "Give another --state folder."),
    Reason.INTERNAL: Row(Code.INTERNAL, 500, _FAULT, "Report it with the correlation id."),
    Reason.ENGINE_FAILED: Row(Code.UNAVAILABLE, 503, _DOWN, "Send again with the same key.", again=True),
    Reason.LINK_PROTOCOL: Row(Code.INVALID_ARGUMENT, 400, _FAULT, "Use compatible versions."),
    Reason.METHOD_UNKNOWN: Row(Code.UNIMPLEMENTED, 501, _USAGE, "Use a method that reflection lists."),
    Reason.HOME_UNREACHABLE: Row(Code.UNAVAILABLE, 503, _DOWN, "Wait, or use the tenant's home region.", again=True),
    Reason.PORT_IN_USE: Row(Code.FAILED_PRECONDITION, 500, _USAGE, "Give another port, or 0 for any free one."),
    Reason.TOO_MANY_ATTEMPTS: Row(Code.UNAUTHENTICATED, 429, _AUTH, "Wait as told, then use a valid key."),
    Reason.UNREACHABLE: Row(Code.UNAVAILABLE, 503, _DOWN, "Check the address, or send to another.", again=True),
    Reason.POISON: Row(Code.FAILED_PRECONDITION, 409, _CONFLICT, "Look at `tether dead-letters show`, then requeue."),
    Reason.POLICY_FORBIDS: Row(Code.PERMISSION_DENIED, 403, _AUTH, "Ask the operator; `tether policy show` has it."),
    Reason.CURSOR_INVALID: Row(Code.INVALID_ARGUMENT, 400, _USAGE, "Send the continuation as received, or none."),
    Reason.SCHEMA_INVALID: Row(Code.INVALID_ARGUMENT, 400, _USAGE, "Correct the schema and send again."),
    Reason.STORE_UNUSABLE: Row(Code.FAILED_PRECONDITION, 500, _DATA, "See `tether store --help`."),
    Reason.STORE_CORRUPT: Row(Code.DATA_LOSS, 500, _DATA, "Run `tether store check`, and restore what it names."),
}


class TetherError(Exception):
    """An error of the closed set.

    Args:
        reason: row of `TABLE`.
        message: what happened, for the caller; no secrets, no content.
        field: path of the field at fault, such as `parameters.temperature`, or empty.
        retry_after_s: when the same call may succeed, seconds, or None.
        metadata: machine-readable facts that also stand in the message.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        field: str = "",
        retry_after_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s
        self.metadata = dict(metadata or {})

    @property
    def row(self) -> Row:
        """What the reason means at each edge."""
        return TABLE[self.reason]

    def __str__(self) -> str:
        return f"{self.message} ({self.reason.name}) {self.row.advice}"
