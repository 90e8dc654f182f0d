"""Loss and gradients of networks by PyTorch, in double, from the same ModelSpec, parameters and batch.

usage: torch_oracle.py FOLDER ...
Reads in each FOLDER: job.json {model, tensors: [{name, shape}], data: {steps, features, image, tokens}, batch},
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


def apply(kind, layer, x, name, parameters):
    def get(tensor):
        return parameters[f"{name}.{tensor}"]
    if kind == "dense":
        return torch.nn.functional.linear(rows(x), get("weight"), get("bias") if layer.get("bias", True) else None)
    if kind == "activation":
        return getattr(torch, layer["function"].removeprefix("ACTIVATION_FUNCTION_").lower())(x)
    if kind == "residual":
        return x + run(layer["layers"], x, name + ".", parameters)
    if kind == "rnn":
        return rnn(layer, x, get)
    if kind == "last_step":
        return x[-1]
    if kind == "flatten":
        return (x.transpose(0, 1) if x.dim() in (3, 5) else x).reshape(batch, -1)
    if kind == "conv2d":
        return conv2d(layer, x, get)
    if kind == "pool2d":
        return pool2d(layer, x)
    raise ValueError(kind)


def run(layers, x, prefix, parameters):
    for index, layer in enumerate(layers):
        kind = next(key for key in layer if key != "name")
        x = apply(kind, layer[kind], x, prefix + layer.get("name", f"{kind}{index}"), parameters)
    return x


def target_loss(y):
    y = rows(y).reshape(-1, rows(y).shape[-1])
    loss = job["model"]["loss"]
    if loss["function"] == "LOSS_FUNCTION_SQUARED_ERROR":
        return torch.nn.functional.mse_loss(y, read("values", torch.float64).reshape(y.shape))
    return torch.nn.functional.cross_entropy(y, read("classes", torch.int32).long())


def inputs():
    if data["tokens"]:
        x = torch.nn.functional.one_hot(read("tokens", torch.int32).long(), data["features"]).double()
    else:
        x = read("features", torch.float64)
    return x.reshape(([data["steps"]] if data["steps"] else []) + [batch] + (data["image"] or [data["features"]]))


def check(path):
    global folder, job, data, batch
    folder = path
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
