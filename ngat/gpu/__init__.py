"""``ngat gpu``: what a GPU is wanted for, as steps within so many minutes.

Everything here runs on CPU tensors as well, which is how it is tested.
"""
