"""What operators allow and prefer, as rules that are evaluated without I/O."""

from tether.policy.rule import ALLOW_ALL, Path, Rule, Ruling, Subject, evaluate

__all__ = ["ALLOW_ALL", "Path", "Rule", "Ruling", "Subject", "evaluate"]
