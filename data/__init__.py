"""The two dataset builders, and the cache."""
