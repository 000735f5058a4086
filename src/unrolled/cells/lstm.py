"""Long short-term memory, without and with peepholes.

Hochreiter and Schmidhuber, "Long short-term memory" (Neural Computation 9, 1997); the forget gate: Gers, Schmidhuber,
Cummins, "Learning to forget" (2000); peepholes: Gers, Schraudolph, Schmidhuber, "Learning precise timing with LSTM
recurrent networks" (2002), in the form of Graves, "Generating sequences with recurrent neural networks" (2013).
"""

from unrolled.cells.cell import cell
from unrolled.cells.operators import Value, affine, sigmoid, tanh, vector


@cell("lstm", two_biases=True)
def lstm(x: Value, a: Value, c: Value) -> tuple[Value, Value]:
    """
    Γ_u  = σ(W_u[a⟨t-1⟩, x⟨t⟩] + b_u)
    Γ_f  = σ(W_f[a⟨t-1⟩, x⟨t⟩] + b_f)
    c̃⟨t⟩ = tanh(W_c[a⟨t-1⟩, x⟨t⟩] + b_c)
    Γ_o  = σ(W_o[a⟨t-1⟩, x⟨t⟩] + b_o)
    c⟨t⟩ = Γ_u * c̃⟨t⟩ + Γ_f * c⟨t-1⟩
    a⟨t⟩ = Γ_o * tanh(c⟨t⟩)
    """
    update = sigmoid(affine("update", a, x))
    forget = sigmoid(affine("forget", a, x))
    candidate = tanh(affine("candidate", a, x))
    output = sigmoid(affine("output", a, x))
    c = update * candidate + forget * c
    return output * tanh(c), c


@cell("lstm-peephole")
def lstm_peephole(x: Value, a: Value, c: Value) -> tuple[Value, Value]:
    """
    Γ_u  = σ(W_u[a⟨t-1⟩, x⟨t⟩] + p_u * c⟨t-1⟩ + b_u)
    Γ_f  = σ(W_f[a⟨t-1⟩, x⟨t⟩] + p_f * c⟨t-1⟩ + b_f)
    c̃⟨t⟩ = tanh(W_c[a⟨t-1⟩, x⟨t⟩] + b_c)
    c⟨t⟩ = Γ_u * c̃⟨t⟩ + Γ_f * c⟨t-1⟩
    Γ_o  = σ(W_o[a⟨t-1⟩, x⟨t⟩] + p_o * c⟨t⟩ + b_o)
    a⟨t⟩ = Γ_o * tanh(c⟨t⟩)
    """
    update = sigmoid(affine("update", a, x) + vector("peephole", gate="update") * c)
    forget = sigmoid(affine("forget", a, x) + vector("peephole", gate="forget") * c)
    candidate = tanh(affine("candidate", a, x))
    c = update * candidate + forget * c
    output = sigmoid(affine("output", a, x) + vector("peephole", gate="output") * c)
    return output * tanh(c), c


@cell("lstm-peephole-previous")
def lstm_peephole_previous(x: Value, a: Value, c: Value) -> tuple[Value, Value]:
    """
    Γ_u  = σ(W_u[a⟨t-1⟩, x⟨t⟩] + p_u * c⟨t-1⟩ + b_u)
    Γ_f  = σ(W_f[a⟨t-1⟩, x⟨t⟩] + p_f * c⟨t-1⟩ + b_f)
    Γ_o  = σ(W_o[a⟨t-1⟩, x⟨t⟩] + p_o * c⟨t-1⟩ + b_o)
    c̃⟨t⟩ = tanh(W_c[a⟨t-1⟩, x⟨t⟩] + b_c)
    c⟨t⟩ = Γ_u * c̃⟨t⟩ + Γ_f * c⟨t-1⟩
    a⟨t⟩ = Γ_o * tanh(c⟨t⟩)
    """
    # The course notes' form: "c⟨t-1⟩ included with every gate".
    update = sigmoid(affine("update", a, x) + vector("peephole", gate="update") * c)
    forget = sigmoid(affine("forget", a, x) + vector("peephole", gate="forget") * c)
    candidate = tanh(affine("candidate", a, x))
    output = sigmoid(affine("output", a, x) + vector("peephole", gate="output") * c)
    c = update * candidate + forget * c
    return output * tanh(c), c
