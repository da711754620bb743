"""Nuclei in anyone's pictures: of any kind, any size, any number."""
