"""The Tether worker."""
