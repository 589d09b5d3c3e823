"""Does "any Keras network" hold? Networks of others are gated, randomised, half closed, pruned and compared.

    python benchmarks/coverage.py                      # what benchmarks/results/coverage.json has not yet
    python benchmarks/coverage.py --again=KerasHub     # those whose source or name holds this, once more
    python benchmarks/coverage.py --list
    python benchmarks/coverage.py --table              # writes docs/coverage.md from what is there

Needs keras-hub and the packages in benchmarks/coverage_cases/packages.py; a network whose package is not installed is
listed as not run. Resumable: each network is written to benchmarks/results/coverage.json when it is done. They run one
after the other in a process that is started anew when it has grown, or a network has taken it along.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
RESULTS = HERE / "results" / "coverage.json"
PAGE = HERE.parent / "docs" / "coverage.md"
# A process that holds more than this is followed by another.
MOST_MEMORY = 2.5 * 2**30
WRONG = ("unequal", "fault")
HEAD = """# Networks that were not chosen to suit the code

Written by `python benchmarks/coverage.py`. Each network, with random weights and at a small size, was gated by
`gate_model(model)` with all of its defaults; weights and statistics of what came out were randomised, half of the
units of each gate closed, and pruned. *Equal*: the pruned network gives the outputs of the gated one (1e-4 of the
largest) on data that `prune` did not see, called with `training=False` and without `training`, and has the
parameters that the plan says. *Refused*: an error says why it cannot be gated.

**Layers**: those that multiply by kernels and lose units when gates close, of those whose units are no outputs of
the network. **MACs behind gates**: the share of the multiply-accumulates that are gone when every gate is closed, of
all that an expert could make removable: all but products between channels of which none can be taken out exactly,
on either side: inputs and outputs of the network, and what a layer normalisation averages over its channels (proof in
`benchmarks/coverage_cases/measure.py`). In both, that one of many units is open is taken for granted: no branch goes
because all of its units could close. Sequences of open length have 16 steps. Rows with a † are older: they count as
removable what stands between two normalisations inside of the network, rows with a * all that is normalised, and one
place of sequences: their share is the least that it is now. Those with a ° were measured on
another commit than {commit}. **s**: seconds of gating, planning and pruning, with all comparisons, on a machine that
does other things too."""


def load():
    """The results so far, by source and name."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def store(key, row):
    """Adds one result."""
    results = load() | {key: row}
    RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")


def commit():
    """The commit that is measured; nothing outside of a checkout."""
    command = ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def work(keys, limit):
    """Measures networks until the process has grown; each has `limit` seconds."""
    from coverage_cases import NETWORKS
    from coverage_cases.measure import Row, measure, text

    def late(*_):
        raise TimeoutError(f"not done in {limit} s")

    signal.signal(signal.SIGALRM, late)
    for key in keys:
        source, _, name = key.partition("/")
        store(key, dataclasses.asdict(Row(name, source, "fault", why="the process ended")))
        signal.alarm(limit)
        start = time.perf_counter()
        try:
            row = measure(name, source, NETWORKS[key])
        except Exception as error:
            # Nothing was asked of tfgates yet: the package is not there, or the network does not build.
            row = Row(name, source, "not built", why=text(error))
        signal.alarm(0)
        store(key, dataclasses.asdict(row) | {"commit": commit()})
        behind = f"{row.gated}/{row.gateable} {row.behind:.0%}"
        print(f"{row.result:9} {key:45} {behind:14} {time.perf_counter() - start:5.1f} s  {row.why[:150]}", flush=True)
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > MOST_MEMORY:
            return


def run(keys, limit):
    """Measures networks in processes one after the other."""
    left = list(keys)
    while left:
        before = load()
        for key in left:
            before.pop(key, None)
        RESULTS.write_text(json.dumps(before, indent=1) + "\n")
        command = [sys.executable, __file__, "--worker", f"--limit={limit}", *left]
        subprocess.run(command, check=False)
        done = load()
        if not any(key in done for key in left):
            raise RuntimeError("The process that measures ended without a result")
        left = [key for key in left if key not in done]


def table(results):
    """The page, as text."""
    rows = [row for row in results.values() if row["result"] != "not built"]
    count = {kind: sum(row["result"] == kind for row in rows) for kind in ("equal", "refused", *WRONG)}
    most = sum(row["result"] == "equal" and row["behind"] >= 0.8 for row in rows)
    # Of what was measured last, that has the most rows.
    made = [row["commit"] for row in rows if row.get("commit")]
    newest = max(made, key=made.count, default="")
    lines = [
        *HEAD.format(commit=newest or "any").splitlines(),
        "",
        f"**{len(rows)} networks: {count['equal']} gated, pruned and equal ({count['equal'] / max(1, len(rows)):.0%}), "
        f"{count['refused']} refused, {count['unequal'] + count['fault']} wrong; in {most} of them at least 80 % of "
        "the MACs are behind gates.**",
        "",
    ]
    for source in dict.fromkeys(row["source"] for row in rows):
        lines += [
            f"## {source}",
            "",
            "| network | result | layers | MACs behind gates | parameters left | s | without gates |",
        ]
        lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
        for row in rows:
            if row["source"] == source:
                why = row["why"].replace("|", "/")[:300]
                counting = row.get("counting", 1)
                older = (
                    " *" if counting < 2 else " †" if counting < 3 else "" if row.get("commit", "") == newest else " °"
                )
                lines.append(
                    f"| {row['name']}{older} | {row['result']} | {row['gated']} of {row['gateable']} | "
                    f"{row['behind']:.0%} | {row['params']:.0%} | {row['seconds']:.1f} | {why} |"
                )
        lines.append("")
    missing = [f"{row['source']}/{row['name']}" for row in results.values() if row["result"] == "not built"]
    if missing:
        lines += [f"Not built here, so not counted: {', '.join(missing)}.", ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("networks", nargs="*", help="source/name; all by default")
    parser.add_argument("--again", default=None, help="measure anew those whose source/name holds this, or 'bad'")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=int, default=300, help="seconds for each network")
    arguments = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    if arguments.worker:
        work(arguments.networks, arguments.limit)
        # Threads of TensorFlow may hold the process up.
        sys.stdout.flush()
        os._exit(0)
    if not arguments.table:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from coverage_cases import NETWORKS

        keys = arguments.networks or list(NETWORKS)
        done = load()
        if arguments.again == "bad":
            keys = [key for key in keys if done.get(key, {}).get("result") != "equal" or done[key]["behind"] < 0.8]
        elif arguments.again is not None:
            keys = [key for key in keys if arguments.again in key]
        elif not arguments.networks:
            keys = [key for key in keys if key not in done]
        if arguments.list:
            print("\n".join(keys))
            return
        run(keys, arguments.limit)
    page = table(load())
    PAGE.write_text(page)
    print(next(line for line in page.splitlines() if line.startswith("**") and "networks:" in line))


if __name__ == "__main__":
    main()
