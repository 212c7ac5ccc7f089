"""Limits and waits of the overlay; tests shorten them, nothing else changes them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Each with its reason.

    Attributes:
        k: nodes that keep a topic's records, and size of a bucket.
        alpha: calls of a crawl at a time.
        call_s: how long a call may take.
        resend_s: when an unanswered request is sent once more.
        soon_s: how long a crawl waits for a contact before it goes on without it.
        renew_s: how often an announcement is renewed.
        lifetime_s: how long a record holds.
        poll_s: how often a watch renews its leases and repairs what pushes missed.
        lease_s: how long a storer pushes changes to a watcher.
        tick_s: how often what is over is dropped.
        join_s: how long `start` waits for its first contacts.
        rejoin_first_s: first wait before joining again; doubles.
        rejoin_max_s: longest wait before joining again.
        refresh_s: how often a node looks for its neighbours anew.
        dead_first_s: how long a silent address is left alone at first; doubles.
        dead_max_s: longest time a silent address is left alone.
        save_s: how often contacts and highest sequences go to disk.
    """

    k: int = 8  # enough for 20 % churn a minute by simulation elsewhere; bench/overlay.py will say
    alpha: int = 3  # Kademlia's own choice
    call_s: float = 1.0  # a region's round trips are under 0.1 s
    resend_s: float = 0.4  # one lost datagram must not cost the call
    soon_s: float = 0.15  # above a region's round trips; a busy node that is passed over loses one look-up
    renew_s: float = 5.0  # overlay.md §2
    lifetime_s: float = 15.0  # overlay.md §2: two renewals may be lost
    poll_s: float = 5.0  # as renewals: what a poll extends lives 15 s
    lease_s: float = 15.0  # two renewals may be lost
    tick_s: float = 0.25  # what is over shows at most this late
    join_s: float = 0.3  # loopback answers in 2 ms; a bootstrap that is not up yet must not delay the start
    rejoin_first_s: float = 0.25  # processes of one region start within a second of each other
    rejoin_max_s: float = 5.0  # a restarted bootstrap is found again within a renewal
    refresh_s: float = 30.0  # a guess; joins are noticed at once, this finds what was missed
    dead_first_s: float = 1.0  # as long as the call that found it silent
    dead_max_s: float = 15.0  # by then its records are over too
    save_s: float = 2.0  # loses less than the 30 s that issue times protect anyway
