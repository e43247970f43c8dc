"""What numpy and safetensors take for the same: FILE is an f32 delta; prints the best of ROUNDS in seconds."""

import sys
import time

import numpy
from safetensors.numpy import load_file


def best(rounds, work):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    path, rounds = sys.argv[1], int(sys.argv[2])
    loaded = best(1, lambda: load_file(path))
    delta = load_file(path)
    master = {name: numpy.full_like(values, 0.02) for name, values in delta.items()}
    out = {name: numpy.zeros_like(values) for name, values in delta.items()}

    def add():
        # The master must stay, and no memory is made anew: as fast as numpy can do it.
        for name, values in delta.items():
            numpy.multiply(values, numpy.float32(0.5), out=out[name])
            numpy.add(master[name], out[name], out=out[name])

    def take_out():
        for name, values in master.items():
            numpy.copyto(out[name], values)

    print(f"PEER add={best(rounds, add):.4f} take_out={best(rounds, take_out):.4f} read={loaded:.4f}")


main()
