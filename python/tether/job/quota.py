"""Quotas in two phases: what a tenant may spend is held when a job is reserved and settled when it ends.

All limits of a tenant stand in one account, which one update per group of jobs changes, so a limit is exact over any
number of orchestrators. Rates are token buckets of a minute's worth, kept as the moment they will be full again (GCRA):
one number, no timer. What was held and not used goes back. Days are UTC days.
A clock that steps back moves what it had granted along with it: nothing opens, and nothing stays locked.
Source: docs/design/design.md §5; ITU-T I.371 (generic cell rate algorithm); RFC 2697.
"""

from dataclasses import dataclass

from tether.errors import Reason, TetherError

_MINUTE_US = 60_000_000
_DAY_MS = 86_400_000
_JITTER_MS = 2_000  # a clock this little behind what was seen is jitter: time stands still instead
_BUSY_RETRY_S = 1.0  # when a running job ends is not known; a second is a job's order of magnitude
_RETRY_S_MAX = 86_400.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a tenant may spend; 0 is no limit.

    Attributes:
        requests_per_minute: jobs reserved.
        tokens_per_minute: tokens held or used.
        tokens_per_day: the same, per UTC day.
        concurrent_jobs: jobs open at a time.
        spend_per_day_micros: millionths of the network's unit of account, per UTC day.
    """

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    tokens_per_day: int = 0
    concurrent_jobs: int = 0
    spend_per_day_micros: int = 0


UNLIMITED = Limits()


@dataclass(slots=True)
class Account:
    """What a tenant holds and has used; changed in place.

    Attributes:
        tenant: who pays.
        open_jobs: jobs that run.
        held_tokens: held for them and for leases.
        held_micros: the same, as spend.
        settled_input: tokens of prompts paid since the beginning.
        settled_output: tokens of answers paid since the beginning.
        settled_micros: spend since the beginning.
        requests_full_us: when the bucket of requests is full again, microseconds since the Unix epoch.
        tokens_full_us: the same of the bucket of tokens.
        tokens_per_minute: rate of that bucket when it was last drawn from; 0 for none.
        seen_ms: latest time at which it was changed, milliseconds since the Unix epoch.
        day: UTC day of the two counters below, since the Unix epoch.
        day_tokens: tokens held and settled on that day.
        day_micros: spend held and settled on that day.
    """

    tenant: str
    open_jobs: int = 0
    held_tokens: int = 0
    held_micros: int = 0
    settled_input: int = 0
    settled_output: int = 0
    settled_micros: int = 0
    requests_full_us: int = 0
    tokens_full_us: int = 0
    tokens_per_minute: int = 0
    seen_ms: int = 0
    day: int = 0
    day_tokens: int = 0
    day_micros: int = 0


def turn(account: Account, now_ms: int) -> None:
    """Bring an account to the present; before anything else is asked of it at that time.

    Args:
        account: changed in place.
        now_ms: wall clock, milliseconds since the Unix epoch.
    """
    back_ms = account.seen_ms - now_ms
    if back_ms > _JITTER_MS:
        account.requests_full_us -= back_ms * 1_000
        account.tokens_full_us -= back_ms * 1_000
    if not 0 < back_ms <= _JITTER_MS:
        account.seen_ms = now_ms
    today = account.seen_ms // _DAY_MS
    if today > account.day:
        account.day_tokens = account.day_micros = 0
    if today != account.day - 1:  # stepping back over midnight stays in the later day, or it would begin twice
        account.day = today  # an earlier one keeps the counters: nothing opens


def admit(account: Account, limits: Limits, tokens: int, micros: int) -> TetherError | None:
    """Take a job's hold from its tenant's account, or say why not.

    Args:
        account: brought to the present; changed in place when the job is admitted, and only then.
        limits: of the tenant.
        tokens: the most that the job can use.
        micros: the most that it can cost.

    Returns:
        None when it is admitted, else RATE_LIMITED or QUOTA_EXCEEDED with the seconds to wait.
    """
    if limits is not UNLIMITED:
        refused = _refusal(account, limits, tokens, micros)
        if refused is not None:
            return refused
        _draw(account, limits, 1, tokens)
    hold(account, tokens, micros)
    account.open_jobs += 1
    return None


def hold(account: Account, tokens: int, micros: int) -> None:
    """Hold for a job or a lease that is admitted, whatever the limits say."""
    account.held_tokens += tokens
    account.held_micros += micros
    account.day_tokens += tokens
    account.day_micros += micros


def lease(account: Account, limits: Limits, tokens: int, micros: int) -> TetherError | None:
    """Take a slice for jobs that will run without the store: holds tokens and spend of the day, or says why not."""
    refused = _over_day(account, limits, tokens, micros)
    if refused is None:
        hold(account, tokens, micros)
    return refused


@dataclass(frozen=True, slots=True)
class Due:
    """What an end settles.

    Attributes:
        input_tokens: of the prompt.
        output_tokens: of the answer.
        micros: spend.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    micros: int = 0


def settle(account: Account, held: tuple[int, int, int], due: Due) -> None:
    """Turn a hold into what was really used; the rest goes back.

    Args:
        account: brought to the present; changed in place.
        held: tokens, micros and the day on which they were held.
        due: what is paid.
    """
    tokens, micros, day = held
    unused = tokens - due.input_tokens - due.output_tokens
    account.held_tokens -= tokens
    account.held_micros -= micros
    account.settled_input += due.input_tokens
    account.settled_output += due.output_tokens
    account.settled_micros += due.micros
    if day == account.day:
        account.day_tokens = max(0, account.day_tokens - unused)
        account.day_micros = max(0, account.day_micros - (micros - due.micros))
    if account.tokens_per_minute:
        account.tokens_full_us -= unused * _MINUTE_US // account.tokens_per_minute


def _refusal(account: Account, limits: Limits, tokens: int, micros: int) -> TetherError | None:
    if limits.concurrent_jobs and account.open_jobs >= limits.concurrent_jobs:
        return _quota(f"{limits.concurrent_jobs} jobs at a time", _BUSY_RETRY_S)
    over = _over_day(account, limits, tokens, micros)
    if over is not None:
        return over
    per_minute = limits.requests_per_minute
    if per_minute and (wait_us := _wait_us(account, account.requests_full_us, _MINUTE_US // per_minute)) > 0:
        return _rate(f"{per_minute} requests per minute", wait_us)
    per_minute = limits.tokens_per_minute
    if per_minute and (wait_us := _wait_us(account, account.tokens_full_us, tokens * _MINUTE_US // per_minute)) > 0:
        return _rate(f"{per_minute} tokens per minute", wait_us)
    return None


def _over_day(account: Account, limits: Limits, tokens: int, micros: int) -> TetherError | None:
    left_s = ((account.day + 1) * _DAY_MS - account.seen_ms) / 1_000
    if limits.tokens_per_day and account.day_tokens + tokens > limits.tokens_per_day:
        return _quota(f"{limits.tokens_per_day} tokens per day", left_s)
    if limits.spend_per_day_micros and account.day_micros + micros > limits.spend_per_day_micros:
        return _quota(f"a spend of {limits.spend_per_day_micros} micros per day", left_s)
    return None


def _wait_us(account: Account, full_us: int, cost_us: int) -> int:
    """Microseconds until a bucket of a minute's worth has so much; what asks for more waits until it is full."""
    cost_us = min(cost_us, _MINUTE_US)
    behind_us = full_us - account.seen_ms * 1_000
    return (max(0, behind_us)) + cost_us - _MINUTE_US


def _draw(account: Account, limits: Limits, requests: int, tokens: int) -> None:
    now_us = account.seen_ms * 1_000
    if limits.requests_per_minute:
        cost_us = requests * _MINUTE_US // limits.requests_per_minute
        account.requests_full_us = max(account.requests_full_us, now_us) + cost_us
    account.tokens_per_minute = limits.tokens_per_minute
    if limits.tokens_per_minute:
        cost_us = tokens * _MINUTE_US // limits.tokens_per_minute
        account.tokens_full_us = max(account.tokens_full_us, now_us) + cost_us


def _rate(limit: str, wait_us: int) -> TetherError:
    message = f"The tenant's limit of {limit} is used up"
    return TetherError(Reason.RATE_LIMITED, message, retry_after_s=min(_RETRY_S_MAX, wait_us / 1e6))


def _quota(limit: str, wait_s: float) -> TetherError:
    message = f"The tenant's quota of {limit} is used up"
    return TetherError(Reason.QUOTA_EXCEEDED, message, retry_after_s=min(_RETRY_S_MAX, max(0.001, wait_s)))
