"""Clips gradients as PyTorch does, in double: clip_grad_norm_ over two tensors, then clip_grad_value_.

usage: torch_clip_oracle.py FILE LIMIT
FILE holds numbers (float64); the first third is one tensor, the rest the other. They are replaced by what
clip_grad_norm_ makes of them, followed by what clip_grad_value_ makes of them. Exits with 77 if there is no PyTorch.
"""

import sys

try:
    import torch
except ImportError:
    sys.exit(77)

path, limit = sys.argv[1], float(sys.argv[2])
numbers = torch.frombuffer(bytearray(open(path, "rb").read()), dtype=torch.float64)
results = []
for clip in (torch.nn.utils.clip_grad_norm_, torch.nn.utils.clip_grad_value_):
    tensors = [torch.nn.Parameter(part.clone()) for part in numbers.tensor_split([len(numbers) // 3])]
    for tensor in tensors:
        tensor.grad = tensor.detach().clone()
    clip(tensors, limit)
    results += [tensor.grad for tensor in tensors]
with open(path, "wb") as out:
    out.write(torch.cat(results).numpy().tobytes())
