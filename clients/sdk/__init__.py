"""The Python SDK: contracts and HTTP."""
