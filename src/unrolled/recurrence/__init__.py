"""The recurrence: a cell's equations and one layer's tensors come in, the states of every timestep go out.

`program` writes a cell's step down, `adjoint` differentiates it, `formulas` prints both, `layout` says where
parameters live. `engines` chooses what runs: `eager`, the plain reference; `vendor`, PyTorch's own kernels for the
cells it has; or `compiled`. There `plan` and `levels` say what a kernel has to do, `kernels` makes it, `schedule` says
which row runs when, `native` runs it on tensors in the threads of `openmp`, and `packed` runs single timesteps.
`gate` lets only memory in; to torch the engine is an `operator`, whose calls hold the cell as text (`keys`), and an
autograd Function (`differentiable`); both end in `calls`.
"""
