"""The Tether bridge."""
