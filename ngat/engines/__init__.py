"""Engines: other ways to compute what the core defines, which finds them by name.

``cpu`` (numba) and ``cuda`` (Triton) are fast, ``dgl`` is a second witness.
:data:`ngat.attention.ENGINES` lists them, :mod:`ngat.engines.agreement` compares one with the
reference.
"""
