"""Steps of torch.optim under torch.optim.lr_scheduler.

usage: torch_optimizer_oracle.py FOLDER ARITHMETIC FEEDBACK
ARITHMETIC is float64 or float32, of parameters and optimizer; FEEDBACK a number f.
Reads in FOLDER: cases, three lines each: the optimizer of the parameters p and the scheduler of the optimizer o ("None"
for none), as Python, and a scale s; raw float64 arrays start [size], noise [steps, size] and losses [steps]. The gradient
of step t is s (noise[t] + f p). Writes result (float64): for each case and step the rate, the momentum (or beta1, or 0), and the
parameters after it. Exits with 77 if there is no PyTorch.
"""

import array
import os
import sys
import warnings

try:
    import torch
except ImportError:
    sys.exit(77)
from torch.optim.lr_scheduler import *  # the names that cases use

folder = sys.argv[1]
arithmetic = getattr(torch, sys.argv[2])
feedback = float(sys.argv[3])
warnings.simplefilter("ignore")


def read(name):
    path = os.path.join(folder, name)
    return torch.from_file(path, size=os.path.getsize(path) // 8, dtype=torch.float64)


start, losses = read("start"), read("losses")
noise = read("noise").reshape(-1, start.numel())


def momentum_of(group):
    return group["betas"][0] if "betas" in group else group.get("momentum", 0)


def run(optimizer, scheduler, scale, write):
    p = start.to(arithmetic, copy=True).requires_grad_()
    o = eval(optimizer, globals(), {"p": [p]})
    s = eval(scheduler, globals(), {"o": o})
    for t, row in enumerate(noise):
        p.grad = (scale * (row + feedback * p.detach())).to(arithmetic)
        write([o.param_groups[0]["lr"], momentum_of(o.param_groups[0])])
        o.step()
        write(p.tolist())
        if isinstance(s, ReduceLROnPlateau):
            s.step(losses[t].item())
        elif s is not None:
            s.step()


torch.set_num_threads(1)
with open(os.path.join(folder, "result"), "wb") as out:
    lines = open(os.path.join(folder, "cases")).read().splitlines()
    for optimizer, scheduler, scale in zip(lines[::3], lines[1::3], lines[2::3]):
        run(optimizer, scheduler, float(scale), lambda numbers: array.array("d", numbers).tofile(out))
