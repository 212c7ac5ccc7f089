"""The Tether gateway."""
