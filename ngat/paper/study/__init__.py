"""Small measurements that the notebooks show, one module per subject."""
