"""Engines: faster ways to compute what the core defines; the core finds them by name.

:mod:`ngat.engines.agreement` compares one with the reference.
"""
