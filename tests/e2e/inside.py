"""The end-to-end suite, inside the network namespace that tests.run made: one registry, one node, the tests one after another."""
import subprocess
import sys

from tests.e2e.lab import Lab
from tests.run import Sum, run_suite


def network():
    """A machine with one interface: lab0, 10.200.0.1, and a default route."""
    for command in ("link set lo up", "link add lab0 type bridge", "addr add 10.200.0.1/24 dev lab0", "link set lab0 up",
                    "route add default via 10.200.0.254"):
        subprocess.run(["ip", *command.split()], check=True)


def main(only=""):
    total = Sum()
    network()
    lab = Lab()
    try:
        run_suite(total, "e2e", only, lab)
    finally:
        lab.stop()
    print(f"1..{total.passed + total.failed}", flush=True)
    return total.failed != 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
