"""python3 -m tests.run SUITE... [--only NAME]: runs unit, api, e2e and sums up.

TAP goes to stdout as it happens; the last line is "N passed, N failed" and the exit code is 1 when one failed or none ran.
A test is a function test_* of a module tests/<suite>/test_*.py; it gets a harness.case.Case. A failure is an exception.
"""
import argparse
import importlib
import inspect
import pathlib
import re
import signal
import subprocess
import sys
import time
import traceback

from tests.harness.case import Case, SuiteServer
from tests.harness.server import ROOT, out_dir

LIMIT_S = 180  # of one test, unless it says otherwise: test.limit_s = N


class Sum:
    def __init__(self):
        self.passed = self.failed = 0

    def add(self, ok, name, began, why=""):
        self.passed, self.failed = self.passed + ok, self.failed + (not ok)
        print(f"{'ok' if ok else 'not ok'} {self.passed + self.failed} - {name} # {time.monotonic() - began:.2f}s", flush=True)
        for line in why.splitlines():
            print("# " + line, flush=True)


def run_tap(total, suite, command):
    """Another runner that prints TAP; a plan that was not kept is a failure."""
    began, seen, failed, plan = time.monotonic(), 0, total.failed, None
    p = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE)
    for line in p.stdout:
        m = re.match(r"(not )?ok \d+ - ([^#\n]*)", line)
        if m:
            seen += 1
            total.add(not m[1], f"{suite} {m[2].strip()}", began)
            began = time.monotonic()
        elif re.match(r"1\.\.\d+$", line):
            plan = int(line[3:])
        else:
            print(line if line.startswith("#") else "# " + line, end="", flush=True)
    p.wait()
    if plan != seen or (p.returncode and total.failed == failed and seen):
        total.add(False, f"{suite} the runner itself", began, f"plan {plan}, {seen} ran, exit code {p.returncode}")


def run_unit(total, only):
    run_tap(total, "unit", [str(out_dir() / "tests/unit/run")] + ([only] if only else []))


def run_e2e(total, only):
    """In a network namespace of their own: the machine's ports, routes and rules are not touched."""
    run_tap(total, "e2e", ["unshare", "--net", "--mount", sys.executable, "-m", "tests.e2e.inside", only])


def on_alarm(*_):
    raise TimeoutError("the test took too long")


def run_case(total, suite, name, function, server):
    began, case = time.monotonic(), Case(name, server)
    why = ""
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(getattr(function, "limit_s", LIMIT_S))
    try:
        function(case)
    except Exception:
        why = traceback.format_exc(limit=-3)
    finally:
        signal.alarm(0)
    try:
        case.clean()
    except Exception:
        why += traceback.format_exc(limit=-3)
    if why and server.log_tail():
        why += "server log:\n" + server.log_tail()
    total.add(not why, f"{suite} {name}".strip(), began, why)


def functions_of(suite):
    for path in sorted(pathlib.Path(ROOT, "tests", suite).glob("test_*.py")):
        module = importlib.import_module(f"tests.{suite}.{path.stem}")
        for name, f in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("test_") and f.__module__ == module.__name__:
                yield path.stem, f.__code__.co_firstlineno, name, f


def run_suite(total, suite, only, server=None):
    server = server or SuiteServer()
    try:
        for module, _, name, f in sorted(functions_of(suite), key=lambda x: x[:3]):
            full = f"{module[5:]}.{name[5:]}"
            if not only or only in full:
                run_case(total, suite if suite == "api" else "", full, f, server)
    finally:
        server.stop()


def main():
    a = argparse.ArgumentParser(prog="tests.run")
    a.add_argument("suites", nargs="+", choices=["unit", "api", "e2e"])
    a.add_argument("--only", default="")
    a = a.parse_args()
    total = Sum()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for suite in a.suites:
        if suite == "api":
            run_suite(total, suite, a.only)
        else:
            {"unit": run_unit, "e2e": run_e2e}[suite](total, a.only)
    print(f"{total.passed} passed, {total.failed} failed")
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
