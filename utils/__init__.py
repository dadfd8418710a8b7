"""Helpers the notebooks share; each says in which notebook it is introduced."""
