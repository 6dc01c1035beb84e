"""The model store on disk, its index in Redis, and what is known about models."""
