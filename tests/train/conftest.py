import os

# Threads of torch that wait by spinning starve those they wait for on a machine that others use too; set before torch loads.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import torch

torch.set_num_threads(min(2, os.cpu_count() or 1))
