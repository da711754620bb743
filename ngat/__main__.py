"""``python -m ngat``, which is what ``torchrun -m ngat`` calls."""

from ngat.cli import main

main()
