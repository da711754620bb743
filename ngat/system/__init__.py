"""Between NGAT and the machine: files written whole, progress, signals, provenance."""
