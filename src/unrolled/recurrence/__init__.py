"""The recurrence: a cell's equations and one layer's tensors come in, the states of every timestep go out.

`program` writes a cell's step down, `layout` says where its parameters live, and each engine runs it: `eager`, the
plain reference, and `vendor`, PyTorch's own kernels for the cells that it has. `engines` chooses among them.
"""
