"""What the notebooks and the README need, and nobody else."""
