"""Runs vLLM: one server subprocess per engine, whose weights are swapped in place where models allow it."""
