"""The recurrent cells: one unit, one time step, forward and backward, as plain functions on scalars.

Every target compiles these functions into its kernels; the equations stand nowhere else. They are PyTorch's.

A cell has *columns*, the pre-activations of one unit. Column p is

    a_p = [x W_ih^T + b_ih](gate `from_input[p]`) + [h_prev W_hh^T + b_hh](gate `from_state[p]`)

where a None leaves its term out. The LSTM has four columns, one for each gate. The GRU has three gates but
four columns: its candidate needs the input's part and the state's part apart, because the reset gate
multiplies only the second. So all cells look alike to the kernels around them:

    forward(a, h_prev, c_prev)              -> h, c, saved      saved: one value per column, kept in place of a
    backward(saved, h_prev, c_prev, h, dh, dc) -> da, dh_prev, dc_prev

`a`, `saved`, `da` are tuples with one value per column. `c` is the LSTM's memory; other cells pass it through.
`dh` and `dc` are the loss's derivatives by h and c; `dh_prev` holds only what flows to h_prev directly (the
GRU's z): the kernel adds what flows through the recurrent product. An entry in `CELLS` is all a new cell needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kernels.jit import device_function
from kernels.scalar import ONE, ZERO, select, sigmoid, tanh


@device_function
def rnn_tanh_forward(a, h_prev, c_prev):
    """h = tanh(a)   (Elman, Cognitive Science 1990)"""
    h = tanh(a[0])
    return h, c_prev, (h,)


@device_function
def rnn_tanh_backward(saved, h_prev, c_prev, h, dh, dc):
    return (dh * (ONE - h * h),), ZERO, ZERO


@device_function
def rnn_relu_forward(a, h_prev, c_prev):
    """h = max(0, a)"""
    h = select(a[0] < ZERO, ZERO, a[0])
    return h, c_prev, (h,)


@device_function
def rnn_relu_backward(saved, h_prev, c_prev, h, dh, dc):
    return (select(h > ZERO, dh, ZERO),), ZERO, ZERO


@device_function
def gru_forward(a, h_prev, c_prev):
    """r = s(a_r), z = s(a_z), n = tanh(a_nx + r a_nh), h = (1 - z) n + z h_prev   (Cho et al., EMNLP 2014)"""
    r = sigmoid(a[0])
    z = sigmoid(a[1])
    n = tanh(a[2] + r * a[3])
    return n + z * (h_prev - n), c_prev, (r, z, n, a[3])


@device_function
def gru_backward(saved, h_prev, c_prev, h, dh, dc):
    r, z, n, a_nh = saved
    da_n = dh * (ONE - z) * (ONE - n * n)
    da_r = da_n * a_nh * r * (ONE - r)
    da_z = dh * (h_prev - n) * z * (ONE - z)
    return (da_r, da_z, da_n, da_n * r), dh * z, ZERO


@device_function
def lstm_forward(a, h_prev, c_prev):
    """i, f, o = s(a_i), s(a_f), s(a_o); g = tanh(a_g); c = f c_prev + i g; h = o tanh(c)

    (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000)
    """
    i = sigmoid(a[0])
    f = sigmoid(a[1])
    g = tanh(a[2])
    o = sigmoid(a[3])
    c = f * c_prev + i * g
    return o * tanh(c), c, (i, f, g, o)


@device_function
def lstm_backward(saved, h_prev, c_prev, h, dh, dc):
    i, f, g, o = saved
    tanh_c = tanh(f * c_prev + i * g)
    dc = dc + dh * o * (ONE - tanh_c * tanh_c)
    da_i = dc * g * i * (ONE - i)
    da_f = dc * c_prev * f * (ONE - f)
    da_g = dc * i * (ONE - g * g)
    da_o = dh * tanh_c * o * (ONE - o)
    return (da_i, da_f, da_g, da_o), ZERO, dc * f


@dataclass(frozen=True)
class Cell:
    """One kind of recurrent unit.

    gates : rows of `weight_ih` and `weight_hh` per unit
    from_input, from_state : for each column, the gate whose product feeds it, or None
    has_memory : whether the cell carries c from step to step
    forget_gate : the gate whose bias starts at 1 (Jozefowicz et al., ICML 2015), or None
    """

    gates: int
    from_input: tuple[int | None, ...]
    from_state: tuple[int | None, ...]
    has_memory: bool
    forget_gate: int | None
    forward: Callable[..., Any]
    backward: Callable[..., Any]

    @property
    def columns(self) -> int:
        return len(self.from_input)


CELLS = {
    "rnn_tanh": Cell(1, (0,), (0,), False, None, rnn_tanh_forward, rnn_tanh_backward),
    "rnn_relu": Cell(1, (0,), (0,), False, None, rnn_relu_forward, rnn_relu_backward),
    "gru": Cell(3, (0, 1, 2, None), (0, 1, None, 2), False, None, gru_forward, gru_backward),
    "lstm": Cell(4, (0, 1, 2, 3), (0, 1, 2, 3), True, 1, lstm_forward, lstm_backward),
}
