import os

import torch

# Small steps on a machine that other tests share: more threads would only wait for each other.
torch.set_num_threads(min(2, os.cpu_count() or 1))
