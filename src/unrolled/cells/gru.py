"""Gated recurrent units.

Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation" (2014);
Chung et al., "Empirical evaluation of gated recurrent neural networks on sequence modeling" (2014).
"""

from unrolled.cells.cell import cell
from unrolled.cells.operators import Value, affine, sigmoid, tanh


@cell("gru-simplified")
def gru_simplified(x: Value, c: Value) -> Value:
    """
    c̃⟨t⟩ = tanh(W_c[c⟨t-1⟩, x⟨t⟩] + b_c)
    Γ_u  = σ(W_u[c⟨t-1⟩, x⟨t⟩] + b_u)
    c⟨t⟩ = Γ_u * c̃⟨t⟩ + (1 - Γ_u) * c⟨t-1⟩
    """
    update = sigmoid(affine("update", c, x))
    candidate = tanh(affine("candidate", c, x))
    return update * candidate + (1 - update) * c


@cell("gru")
def gru(x: Value, c: Value) -> Value:
    """
    Γ_r  = σ(W_r[c⟨t-1⟩, x⟨t⟩] + b_r)
    Γ_u  = σ(W_u[c⟨t-1⟩, x⟨t⟩] + b_u)
    c̃⟨t⟩ = tanh(W_c[Γ_r * c⟨t-1⟩, x⟨t⟩] + b_c)
    c⟨t⟩ = Γ_u * c̃⟨t⟩ + (1 - Γ_u) * c⟨t-1⟩
    """
    relevance = sigmoid(affine("relevance", c, x))
    update = sigmoid(affine("update", c, x))
    candidate = tanh(affine("candidate", relevance * c, x))
    return update * candidate + (1 - update) * c


@cell("gru-torch", two_biases=True)
def gru_torch(x: Value, c: Value) -> Value:
    """
    Γ_r  = σ(W_r[c⟨t-1⟩, x⟨t⟩] + b_r)
    Γ_k  = σ(W_k[c⟨t-1⟩, x⟨t⟩] + b_k)
    c̃⟨t⟩ = tanh(W_cx x⟨t⟩ + b_cx + Γ_r * (W_cc c⟨t-1⟩ + b_cc))
    c⟨t⟩ = (1 - Γ_k) * c̃⟨t⟩ + Γ_k * c⟨t-1⟩
    """
    # PyTorch's and cuDNN's form: the relevance gate acts after the product, and Γ_k (torch's z) keeps the old value.
    relevance = sigmoid(affine("relevance", c, x))
    keep = sigmoid(affine("keep", c, x))
    candidate = tanh(affine("candidate", x) + relevance * affine("candidate_hidden", c))
    return (1 - keep) * candidate + keep * c
