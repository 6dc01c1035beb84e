"""From a request that names a model to the server that answers it."""
