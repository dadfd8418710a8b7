"""The embedded data set: cats and dogs drawn by code, ready without a network."""
