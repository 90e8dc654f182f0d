"""Loss and gradients of networks by PyTorch, in double, from the same ModelSpec, parameters and batch.

usage: torch_oracle.py FOLDER ...
Reads in each FOLDER: job.json {model, tensors: [{name, shape}], data: {steps, features, image, tokens}, batch, seed},
and raw arrays in native byte order: parameters (float64, the tensors one after the other), features (float64) or tokens
(int32), classes (int32) or values (float64). Rows are time-major. Writes result (float64): the loss, then the gradients
in the order of the tensors. Exits with 77 if there is no PyTorch.
"""

import json
import os
import sys

try:
    import torch
except ImportError:
    sys.exit(77)

folder = job = data = batch = None  # of the network at hand
depth = 0  # layers before the one at hand, blocks not counted


def read(name, dtype):
    path = os.path.join(folder, name)
    return torch.from_file(path, size=os.path.getsize(path) // torch.empty(0, dtype=dtype).element_size(), dtype=dtype)


def read_parameters():
    parameters, start, numbers = {}, 0, read("parameters", torch.float64)
    for tensor in job["tensors"]:
        size = 1
        for extent in tensor["shape"]:
            size *= extent
        parameters[tensor["name"]] = numbers[start:start + size].reshape(tensor["shape"]).clone().requires_grad_()
        start += size
    return parameters


def rnn(layer, x, get):
    function = torch.rnn_relu if layer.get("nonlinearity") == "ACTIVATION_FUNCTION_RELU" else torch.rnn_tanh
    weights = [get(name) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    start = torch.zeros(1, batch, layer["units"], dtype=torch.float64)
    return function(x, start, weights, True, 1, 0.0, True, False, False)[0]


def rows(x):  # images as flat rows
    return x.flatten(-3) if x.dim() >= 4 else x


def per_image(function, x):
    y = function(x.reshape(-1, *x.shape[-3:]))
    return y.reshape(*x.shape[:-3], *y.shape[1:])


def conv2d(layer, x, get):
    bias = get("bias") if layer.get("bias", True) else None
    return per_image(lambda image: torch.nn.functional.conv2d(
        image, get("weight"), bias, layer.get("stride", 1), layer.get("padding", 0)), x)


def pool2d(layer, x):
    pool = torch.nn.functional.max_pool2d if layer["mode"] == "MODE_MAX" else torch.nn.functional.avg_pool2d
    return per_image(lambda image: pool(image, layer["kernel"], layer.get("stride", layer["kernel"])), x)


def activation(layer, x):
    function, nn = layer["function"].removeprefix("ACTIVATION_FUNCTION_"), torch.nn.functional
    if function == "LEAKY_RELU":
        return nn.leaky_relu(x, layer.get("alpha", 0.01))
    if function == "ELU":
        return nn.elu(x, layer.get("alpha", 1.0))
    if function == "GELU_TANH":
        return nn.gelu(x, approximate="tanh")
    return (getattr(torch, function.lower(), None) or getattr(nn, function.lower()))(x)


def batch_norm(layer, x, get):
    """Over rows, or over rows and pixels per channel."""
    flat = x if x.dim() == 4 else x.reshape(-1, x.shape[-1])
    y = torch.nn.functional.batch_norm(flat, None, None, get("weight"), get("bias"), True, 0.1,
                                       layer.get("epsilon", 1e-5))
    return y.reshape(x.shape)


def philox(counter, key):
    """One block of Philox 4x32-10 (Salmon et al. 2011): four numbers of 32 bits."""
    mask = 0xFFFFFFFF
    for _ in range(10):
        a, b = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
        counter = [b >> 32 ^ counter[1] ^ key[0], b & mask, a >> 32 ^ counter[3] ^ key[1], a & mask]
        key = [key[0] + 0x9E3779B9 & mask, key[1] + 0xBB67AE85 & mask]
    return counter


def dropout(layer, x):
    """With the mask that core/nn/dropout.h defines, of batch 0; random stream 3 is that of dropout."""
    probability, index = layer.get("probability", 0.5), depth << 40
    bits = []
    for block in range((x.numel() + 3) // 4):
        bits += philox([block, 3, index & 0xFFFFFFFF, index >> 32], [job["seed"], 0])
    mask = torch.tensor([b >= int(probability * 2**32) for b in bits[:x.numel()]], dtype=torch.float64)
    return x * mask.reshape(x.shape) / (1 - probability)


def gated(function, layer, x, get, states):
    weights = [get(name) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    start = torch.zeros(1, batch, layer["units"], dtype=torch.float64)
    return function(x, start if states == 1 else (start,) * states, weights, True, 1, 0.0, True, False, False)[0]


def embedding(layer, x, get):
    y = x @ get("weight")
    return y + get("positions").unsqueeze(1) if layer.get("positions") else y


# By hand: PyTorch's own is tied to its modules.
def self_attention(layer, x, get):
    steps, _, features = x.shape
    heads, width = layer["heads"], features // layer["heads"]
    projected = torch.nn.functional.linear(x, get("in_proj_weight"), get("in_proj_bias"))
    q, k, v = (part.reshape(steps, batch, heads, width).permute(1, 2, 0, 3) for part in projected.chunk(3, dim=-1))
    scores = q @ k.transpose(2, 3) / width ** 0.5
    future = torch.ones(steps, steps).triu(1).bool()
    joined = torch.softmax(scores.masked_fill(future, -torch.inf), dim=-1) @ v
    return torch.nn.functional.linear(joined.permute(2, 0, 1, 3).reshape(steps, batch, features),
                                      get("out_proj_weight"), get("out_proj_bias"))


def apply(kind, layer, x, name, parameters):
    def get(tensor):
        return parameters[f"{name}.{tensor}"]
    if kind == "dense":
        return torch.nn.functional.linear(rows(x), get("weight"), get("bias") if layer.get("bias", True) else None)
    if kind == "activation":
        return activation(layer, x)
    if kind == "residual":
        return x + run(layer["layers"], x, name + ".", parameters)
    if kind == "rnn":
        return rnn(layer, x, get)
    if kind == "lstm":
        return gated(torch.lstm, layer, x, get, 2)
    if kind == "gru":
        return gated(torch.gru, layer, x, get, 1)
    if kind == "embedding":
        return embedding(layer, x, get)
    if kind == "self_attention":
        return self_attention(layer, x, get)
    if kind == "last_step":
        return x[-1]
    if kind == "flatten":
        return (x.transpose(0, 1) if x.dim() in (3, 5) else x).reshape(batch, -1)
    if kind == "conv2d":
        return conv2d(layer, x, get)
    if kind == "pool2d":
        return pool2d(layer, x)
    if kind == "layer_norm":
        return torch.nn.functional.layer_norm(x, x.shape[-1:], get("weight"), get("bias"), layer.get("epsilon", 1e-5))
    if kind == "rms_norm":
        return x / (x.square().mean(-1, keepdim=True) + layer.get("epsilon", 1e-5)).sqrt() * get("weight")
    if kind == "batch_norm":
        return batch_norm(layer, x, get)
    if kind == "dropout":
        return dropout(layer, x)
    if kind == "scale":
        return x * get("weight") + (get("bias") if layer.get("bias") else 0)
    raise ValueError(kind)


def run(layers, x, prefix, parameters):
    global depth
    for index, layer in enumerate(layers):
        kind = next(key for key in layer if key != "name")
        x = apply(kind, layer[kind], x, prefix + layer.get("name", f"{kind}{index}"), parameters)
        if kind != "residual":
            depth += 1
    return x


def target_loss(y):
    y = rows(y).reshape(-1, rows(y).shape[-1])
    loss, nn = job["model"]["loss"], torch.nn.functional
    if loss["function"] == "LOSS_FUNCTION_SOFTMAX_CROSS_ENTROPY":
        return nn.cross_entropy(y, read("classes", torch.int32).long())
    values = read("values", torch.float64).reshape(y.shape)
    if loss["function"] == "LOSS_FUNCTION_BINARY_CROSS_ENTROPY":
        return nn.binary_cross_entropy_with_logits(y, values)
    if loss["function"] == "LOSS_FUNCTION_HUBER":
        return nn.huber_loss(y, values, delta=loss.get("delta", 1.0))
    return nn.mse_loss(y, values)


def inputs():
    if data["tokens"]:
        x = torch.nn.functional.one_hot(read("tokens", torch.int32).long(), data["features"]).double()
    else:
        x = read("features", torch.float64)
    return x.reshape(([data["steps"]] if data["steps"] else []) + [batch] + (data["image"] or [data["features"]]))


def check(path):
    global folder, job, data, batch, depth
    folder, depth = path, 0
    job = json.load(open(os.path.join(folder, "job.json")))
    data, batch = job["data"], job["batch"]
    parameters = read_parameters()
    loss = target_loss(run(job["model"]["layers"], inputs(), "", parameters))
    loss.backward()
    result = torch.cat([loss.detach().reshape(1)] + [p.grad.reshape(-1) for p in parameters.values()])
    with open(os.path.join(folder, "result"), "wb") as out:
        out.write(result.numpy().tobytes())


torch.set_num_threads(1)
for argument in sys.argv[1:]:
    check(argument)
