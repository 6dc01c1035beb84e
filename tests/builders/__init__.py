"""Builders that tests of several parts share."""
