"""Fakes that tests of every part share."""
