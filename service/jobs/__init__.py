"""Jobs: queued, recorded, watched."""
