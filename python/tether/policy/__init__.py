"""Policy Engine: what operators allow and prefer, as rules that are evaluated without I/O.

Source: docs/design/design.md §4.
"""

from tether.policy.check import check_policy
from tether.policy.decision import NO_RULES, Decision, Subject, enforce, path, priority
from tether.policy.engine import Policies, evaluate

__all__ = [
    "NO_RULES",
    "Decision",
    "Policies",
    "Subject",
    "check_policy",
    "enforce",
    "evaluate",
    "path",
    "priority",
]
