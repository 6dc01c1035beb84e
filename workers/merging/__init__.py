"""Executes merge plans: torch and safetensors, no Redis, no web.

weights.py reads sources, methods/ hold the arithmetic, engine.py runs a plan tensor by tensor,
checkpoint.py is where the result goes.
"""
