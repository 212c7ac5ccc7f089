"""The Tether orchestrator."""
