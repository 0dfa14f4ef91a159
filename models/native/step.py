"""The whole step of GPT-2 as one compiled function, from tokens to logits.

R rows (tokens of any sequences at any positions), L layers, C channels, H heads, D = C / H head width, V vocabulary;
Cp and Ip are C and the channels inside an MLP as padded to multiples of 64, where the padding holds zeros.
"""

import numpy as np
from numba import njit

from models.native.attention import HEAD, KEYS, LAYER, POSITION, TOKEN, VALUES, attend
from models.native.elementwise import arrange, layer_norm
from models.native.product import PANEL, floats, is_nibbles, matrix, product
from models.native.threads import next_piece, piece_done, wait_for_all
from models.native.vectors import weight_at

f4 = np.float32
NORM_ROWS = 8  # rows of a piece of layer norms

# columns of the table of a layer: addresses of four matrices (weights, scales, bias) and two layer norms
QKV, PROJECTION, UP, DOWN = 0, 3, 6, 9
NORM_1, NORM_2 = 12, 14
LAYER_COLUMNS = 16
# the other weights, and the buffers
TABLE, TABLE_SCALES, POSITIONS, HEAD_WEIGHTS, HEAD_SCALES, FINAL_NORM, FINAL_BIAS = range(7)
X, NORMED, ARRANGED, QKV_OUT, ATTENDED, INNER, INNER_ARRANGED, OUT, SCORES, PANELS, LOGITS = range(11)
# the numbers of a network
LAYERS, CHANNELS, INNER_CHANNELS, HEADS, VOCABULARY, CONTEXT, ACTIVATION, PADDED, INNER_PADDED = range(9)
PHASES = 10  # of a layer at most
OTHER_PHASES = 4


@njit(nogil=True, error_model="numpy", cache=True)
def normalize(x, norm, epsilon, C, h, arranged, nibbles, sync, phase):  # type: ignore[no-untyped-def]
    """Write the layer norm of each row of x (R, C) to h (R, Cp), for nibbles also as `arrange` does."""
    weight, bias = floats(norm[0], C), floats(norm[1], C)
    pieces = (x.shape[0] + NORM_ROWS - 1) // NORM_ROWS
    while True:
        piece = next_piece(sync, phase)
        if piece >= pieces:
            break
        for r in range(piece * NORM_ROWS, min(x.shape[0], (piece + 1) * NORM_ROWS)):
            layer_norm(x[r], weight, bias, epsilon, h[r])
            if nibbles:
                arrange(h[r], arranged[r])
        piece_done(sync, phase)
    wait_for_all(sync, phase, pieces)


@njit(nogil=True, error_model="numpy", cache=True)
def arrange_rows(x, out, sync, phase):  # type: ignore[no-untyped-def]
    """Write each row of x (R, K) to `out` as `arrange` does."""
    pieces = (x.shape[0] + NORM_ROWS - 1) // NORM_ROWS
    while True:
        piece = next_piece(sync, phase)
        if piece >= pieces:
            break
        for r in range(piece * NORM_ROWS, min(x.shape[0], (piece + 1) * NORM_ROWS)):
            arrange(x[r], out[r])
        piece_done(sync, phase)
    wait_for_all(sync, phase, pieces)


@njit(nogil=True, error_model="numpy", cache=True)
def store_keys(rows, layer, qkv, C, H, sync, phase):  # type: ignore[no-untyped-def]
    """Copy the keys and values of qkv (R, 3C) to the places of each row in its cache."""
    D = C // H
    pieces = (rows.shape[0] + NORM_ROWS - 1) // NORM_ROWS
    while True:
        piece = next_piece(sync, phase)
        if piece >= pieces:
            break
        for r in range(piece * NORM_ROWS, min(rows.shape[0], (piece + 1) * NORM_ROWS)):
            for h in range(H):
                at = rows[r, KEYS] + layer * rows[r, LAYER] + h * rows[r, HEAD] + 4 * D * rows[r, POSITION]
                key, value = floats(at, D), floats(at + rows[r, VALUES], D)
                for d in range(D):
                    key[d] = qkv[r, C + h * D + d]
                    value[d] = qkv[r, 2 * C + h * D + d]
        piece_done(sync, phase)
    wait_for_all(sync, phase, pieces)


@njit(nogil=True, error_model="numpy", cache=True)
def attention(rows, groups, layer, qkv, y, scores, C, H, sync, phase):  # type: ignore[no-untyped-def]
    """Write the attention of all heads of all rows to y (R, Cp).

    groups (G, 2) are the first row and the number of rows of up to four neighbours in a sequence.
    """
    pieces = groups.shape[0] * H
    while True:
        piece = next_piece(sync, phase)
        if piece >= pieces:
            break
        group, head = piece // H, piece % H
        attend(rows, groups[group, 0], groups[group, 1], head, layer, qkv, y, scores, C // H)
        piece_done(sync, phase)
    wait_for_all(sync, phase, pieces)


@njit(nogil=True, error_model="numpy", cache=True)
def embed(kind, weights, rows, C, Cp, x, sync):  # type: ignore[no-untyped-def]
    """Write the sum of each row's token and position embeddings to x (R, C), as phase 0."""
    if next_piece(sync, 0) == 0:
        for r in range(rows.shape[0]):
            token = rows[r, TOKEN]
            position = floats(weights[POSITIONS] + 4 * C * rows[r, POSITION], C)
            scale = floats(weights[TABLE_SCALES] + 4 * token, 1)[0] if weights[TABLE_SCALES] != 0 else f4(1)
            for k in range(C):
                x[r, k] = weight_at(kind, weights[TABLE], token * Cp + k) * scale + position[k]
        piece_done(sync, 0)
    wait_for_all(sync, 0, 1)


@njit(nogil=True, error_model="numpy", cache=True)
def attention_block(  # type: ignore[no-untyped-def]
    kind, w, layer, rows, groups, x, h, arranged, qkv, y, out, scores, panel, epsilon, C, H, T, sync, phase
):
    """Add the attention of one layer, whose weights `w` are of this kind, to x (R, C); it takes phases 0 to 5.

    h, arranged and y (R, Cp), qkv (R, 3C), out (R, C), scores (4, S) and panel, an address, are buffers.
    """
    nibbles = is_nibbles(kind)
    normalize(x, w[NORM_1 : NORM_1 + 2], epsilon, C, h, arranged, nibbles, sync, phase)
    # queries, keys and values: (R, C) -> (R, 3C)
    z = arranged if nibbles else h
    product(kind, w[QKV], w[QKV + 1], w[QKV + 2], 3 * C, z, qkv, x, False, -1, T, panel, sync, phase + 1)
    store_keys(rows, layer, qkv, C, H, sync, phase + 2)
    # (R, 3C) and the cache -> (R, C)
    attention(rows, groups, layer, qkv, y, scores, C, H, sync, phase + 3)
    if nibbles:
        arrange_rows(y, arranged, sync, phase + 4)
    z = arranged if nibbles else y
    product(
        kind, w[PROJECTION], w[PROJECTION + 1], w[PROJECTION + 2], C, z, out, x, True, -1, T, panel, sync, phase + 5
    )


@njit(nogil=True, error_model="numpy", cache=True)
def step(  # type: ignore[no-untyped-def]
    me, T, sync, numbers, weights, layers, buffers, rows, groups, wanted, epsilon, table_kind, first_kind, kind
):
    """Append the tokens of `rows` to their caches; write logits (len(wanted), V) after the rows `wanted`.

    Any number of threads run it at once with the same arguments but for `me`, which is below the T that are expected.
    The kinds are empty arrays of the types of the weights: of the token table and the head, of the first layer's
    attention, of all other matrices. `epsilon` is that of the layer norms.
    """
    C, inner, H, V = numbers[CHANNELS], numbers[INNER_CHANNELS], numbers[HEADS], numbers[VOCABULARY]
    Cp, Ip, S = numbers[PADDED], numbers[INNER_PADDED], numbers[CONTEXT]
    R, M = rows.shape[0], wanted.size
    x, out, qkv = matrix(buffers[X], R, C), matrix(buffers[OUT], R, C), matrix(buffers[QKV_OUT], R, 3 * C)
    h, arranged = matrix(buffers[NORMED], R, Cp), matrix(buffers[ARRANGED], R, Cp)
    y = matrix(buffers[ATTENDED], R, Cp)
    f, f_arranged = matrix(buffers[INNER], R, Ip), matrix(buffers[INNER_ARRANGED], R, Ip)
    scores = matrix(buffers[SCORES] + 16 * S * me, 4, S)
    panel = buffers[PANELS] + 4 * PANEL * me
    nibbles, more = is_nibbles(kind), (qkv, y, out, scores, panel)
    embed(table_kind, weights, rows, C, Cp, x, sync)
    phase = 1
    for i in range(numbers[LAYERS]):
        w = layers[i]
        # (R, C) -> (R, C), added to the residual stream
        if i == 0:
            attention_block(first_kind, w, i, rows, groups, x, h, arranged, *more, epsilon, C, H, T, sync, phase)
        else:
            attention_block(kind, w, i, rows, groups, x, h, arranged, *more, epsilon, C, H, T, sync, phase)
        # MLP: (R, C) -> (R, inner) -> (R, C), added likewise
        normalize(x, w[NORM_2 : NORM_2 + 2], epsilon, C, h, arranged, nibbles, sync, phase + 6)
        z, activation = arranged if nibbles else h, numbers[ACTIVATION]
        product(kind, w[UP], w[UP + 1], w[UP + 2], inner, z, f, x, False, activation, T, panel, sync, phase + 7)
        if nibbles:
            arrange_rows(f, f_arranged, sync, phase + 8)
        z = f_arranged if nibbles else f
        product(kind, w[DOWN], w[DOWN + 1], w[DOWN + 2], C, z, out, x, True, -1, T, panel, sync, phase + 9)
        phase += PHASES
    # of a prompt, only the last row is multiplied by the head: rows `wanted` of x, in order, to the front of `out`
    last = out[:M]
    if next_piece(sync, phase) == 0:
        for m in range(M):
            last[m] = x[wanted[m]]
        piece_done(sync, phase)
    wait_for_all(sync, phase, 1)
    normalize(last, weights[FINAL_NORM : FINAL_NORM + 2], epsilon, C, h[:M], arranged, False, sync, phase + 1)
    logits = matrix(buffers[LOGITS], M, V)
    table, scales = weights[HEAD_WEIGHTS], weights[HEAD_SCALES]
    product(table_kind, table, scales, 0, V, h[:M], logits, x, False, -1, T, panel, sync, phase + 2)
