"""What only the notebooks and the README need: `study` computes, `figures` draws."""
