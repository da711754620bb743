"""Training on a GPU: the input pipeline on the device, and ``ngat gpu``, minutes of one in a row.

Everything here runs on CPU tensors as well, which is how it is tested.
"""
