"""Which engine serves which model: workers report on the board, the gateway leases through the router.

A lease says "requests of this gateway may be running on this engine with this model"; an engine changes its
model only when it has none. Leasing checks the engine's state and model in the same step, so that no request
ever reaches an engine that is changing.

Every serve worker sees the same overview and works out the same schedule from it (schedule.py); each carries
out its own part. A claim keeps two from loading the same model when they saw different moments.
"""
