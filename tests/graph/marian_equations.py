"""A Bergamot student's forward pass from the items of its binary, in float64 and without any of edgekit's graph code.

Follows Marian: src/models/transformer.h (attention, feed-forward, positions), src/rnn/cells.h (SSRU). One sentence, no
padding, the whole target at once.
"""

import numpy as np

from edgekit.graph.tensors import QuantizedTensor


def student_logits(tensors, options, source_ids, target_ids):
    """Logits ``[len(target_ids) + 1, vocabulary]``: before any target id, and after each of them.

    Args:
        tensors: items by name, from `read_marian_binary`.
        options: special:model.yml.
        source_ids: EOS included.
        target_ids: what the decoder has produced so far.
    """
    w = {
        name: (tensor.dequantize() if isinstance(tensor, QuantizedTensor) else tensor).astype(np.float64)
        for name, tensor in tensors.items()
    }
    heads, d = options["transformer-heads"], options["dim-emb"]
    source = w["Wemb"] if "Wemb" in w else w["encoder_Wemb"]
    target = w["Wemb"] if "Wemb" in w else w["decoder_Wemb"]
    context = np.sqrt(d) * source[source_ids] + np.stack([position(p, d) for p in range(len(source_ids))])
    for layer in range(1, options["enc-depth"] + 1):
        context = attention(w, f"encoder_l{layer}_self", context, context, heads)
        context = feed_forward(w, f"encoder_l{layer}", context)
    # The first input is a vector of zeros.
    embedded = np.concatenate([np.zeros((1, d)), np.sqrt(d) * target[np.asarray(target_ids, int)]])
    x = embedded + np.stack([position(p, d) for p in range(len(embedded))])
    for layer in range(1, options["dec-depth"] + 1):
        x = ssru(w, f"decoder_l{layer}_rnn", x)
        x = attention(w, f"decoder_l{layer}_context", x, context, heads)
        x = feed_forward(w, f"decoder_l{layer}", x)
    return x @ target.T + w["decoder_ff_logit_out_b"]


def position(p, d):
    rates = [np.exp(-i * np.log(10000) / (d / 2 - 1)) for i in range(d // 2)]
    return np.array([np.sin(p * rate) for rate in rates] + [np.cos(p * rate) for rate in rates])


def normalize(w, name, x):
    mean = x.mean(axis=1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=1, keepdims=True)
    return w[f"{name}_ln_scale"] * (x - mean) / np.sqrt(variance + 1e-6) + w[f"{name}_ln_bias"]


def attention(w, name, x, memory, heads):
    query, key, value = (
        rows @ w[f"{name}_W{part}"] + w[f"{name}_b{part}"] for part, rows in (("q", x), ("k", memory), ("v", memory))
    )
    width = query.shape[1] // heads
    attended = []
    for head in range(heads):
        columns = slice(head * width, (head + 1) * width)
        scores = np.exp(query[:, columns] @ key[:, columns].T / np.sqrt(width))
        attended.append(scores / scores.sum(axis=1, keepdims=True) @ value[:, columns])
    projected = np.hstack(attended) @ w[f"{name}_Wo"] + w[f"{name}_bo"]
    return normalize(w, f"{name}_Wo", projected + x)


def feed_forward(w, name, x):
    inner = np.maximum(x @ w[f"{name}_ffn_W1"] + w[f"{name}_ffn_b1"], 0)
    return normalize(w, f"{name}_ffn_ffn", inner @ w[f"{name}_ffn_W2"] + w[f"{name}_ffn_b2"] + x)


def ssru(w, name, x):
    cell, outputs = np.zeros(x.shape[1]), []
    for row in x:
        forget = 1 / (1 + np.exp(-(row @ w[f"{name}_Wf"] + w[f"{name}_bf"][0])))
        cell = forget * cell + (1 - forget) * (row @ w[f"{name}_W"])
        outputs.append(np.maximum(cell, 0))
    return normalize(w, f"{name}_ffn", np.stack(outputs) + x)
