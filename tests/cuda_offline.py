"""Compile the CUDA engine's kernels on a machine that has no GPU, and print what came out.

Triton compiles for a device that is described to it; what stands in for its driver here only says
which. Run it in a process of its own, since Triton must not interpret:

    python tests/cuda_offline.py 90 bfloat16 king,child,parent 8

prints JSON, an object per launch: a name for the compiled code, registers and stack bytes (spilled
registers) of a thread, shared memory of a program, and the loads and barriers of the PTX code.
"""

import json
import re
import subprocess
import sys
import tempfile

import torch
import triton
from attention_cases import draw
from triton.backends.compiler import GPUTarget

from ngat.engines.cuda import attend as cuda


class Described:
    """As much of Triton's driver as compiling asks for."""

    def __init__(self, capability):
        self.capability = capability

    def get_current_target(self):
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


class Compiler:
    """Takes a kernel's place: a launch compiles, and nothing runs."""

    def __init__(self, kernel, found):
        self.kernel, self.found = kernel, found

    def __getitem__(self, grid):
        def launch(*arguments, **constants):
            compiled = self.kernel.warmup(*arguments, grid=grid, **constants)
            ptx = compiled.asm["ptx"]
            self.found.append(
                {
                    "kernel": constants.get("RELATION", self.kernel.__name__),
                    "name": compiled.hash,
                    "loads": ptx.count("ld.global"),
                    "barriers": ptx.count("bar.sync"),
                    **resources(compiled.asm["cubin"]),
                }
            )

        return launch


def resources(binary):
    """What the machine code takes, by the tool that Triton brings along."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        tool = triton.knobs.nvidia.cuobjdump.path
        found = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True)
    usage = dict(re.findall(r"(\w+):(\d+)", (found.stdout + found.stderr).split("REG:")[-1]))
    registers = re.search(r"REG:(\d+)", found.stdout + found.stderr)
    return {
        "registers": int(registers[1]),
        "stack": int(usage["STACK"]) + int(usage["LOCAL"]),
        "shared": int(usage["SHARED"]),
    }


def main(capability, dtype, relations, channels):
    triton.runtime.driver.set_active(Described(int(capability)))
    found = []
    for name in ("forward", "as_destination", "as_source"):
        setattr(cuda.kernels, name, Compiler(getattr(cuda.kernels, name), found))
    relations = relations.split(",")
    for height, width, odd in [(16, 16, False), (5, 7, True), (1, 1, True)]:
        shape = (1, 2, int(channels), height, width)
        groups, er = draw(shape, relations, odd=odd, dtype=getattr(torch, dtype))
        tensors = [tensor for group in groups for tensor in group[1:]]
        tensors[0].requires_grad_()
        cuda.CudaAttention.apply(tuple(relations), er, *tensors).sum().backward()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
