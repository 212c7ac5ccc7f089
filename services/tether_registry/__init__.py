"""The Tether registry."""
