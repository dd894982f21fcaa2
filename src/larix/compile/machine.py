"""Which instruction set this machine has, by a name that artifacts are stored under."""

import platform

import torch


def instruction_set() -> str:
    """As ``x86_64-avx512-amx``: the architecture, the widest vectors torch finds, and tiles if it has them."""
    parts = [platform.machine().lower(), torch.backends.cpu.get_cpu_capability().lower().replace(" ", "")]
    if torch.cpu._is_amx_tile_supported():
        parts.append("amx")
    return "-".join(parts)
