"""Nuclei in pictures of one's own."""
