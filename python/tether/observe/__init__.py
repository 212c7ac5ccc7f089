"""How Tether is seen: logs, metrics and traces."""
