"""Weights that people bring: what POST /models may register, checked without torch before a job is queued."""
