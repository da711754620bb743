"""Training patches that are made on the device, a whole batch at once."""
