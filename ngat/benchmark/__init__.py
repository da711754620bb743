"""Speed and memory, measured: the attention layer against DGL, PyG and torch.compile, and the
network against a U-Net.

Everything is measured in fresh processes with stated threads and allocator, engines taking turns;
the floor (:func:`ngat.benchmark.layers.cost`) says how much is left to gain.
"""
