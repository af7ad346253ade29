"""Tensors of a simulation."""


def unwrap_tensor(tensor):
    return tensor
