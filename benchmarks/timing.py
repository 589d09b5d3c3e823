"""Times of several things, taken in turns, so that what else the machine does hits all alike."""

import statistics
import time


def interleaved(functions, rounds):
    """Runs each of `functions` once per round; returns what each took in each round.

    Args:
        functions: dict of name to function without arguments that blocks until its work is done.
            Each is run once before, untimed.
        rounds: int.

    Returns:
        Two dicts of name to list of seconds: by the clock, and of processor time, which counts
        all threads of this process and little of what others do on a busy machine.
    """
    for function in functions.values():
        function()
    clock, processor = {name: [] for name in functions}, {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start, processor_start = time.perf_counter(), time.process_time()
            function()
            clock[name].append(time.perf_counter() - start)
            processor[name].append(time.process_time() - processor_start)
    return clock, processor


def ratios(seconds, base):
    """Median and quartiles, per name, of the seconds over those of `base` in the same round."""
    found = {}
    for name, values in seconds.items():
        each = [value / of_base for value, of_base in zip(values, seconds[base], strict=True)]
        low, middle, high = statistics.quantiles(each, n=4)
        found[name] = (middle, low, high)
    return found


def summary(clock, processor, base, per_call=1):
    """Milliseconds, and the ratios to `base` by the clock and in processor time: medians and quartiles.

    Args:
        clock, processor: what `interleaved` returned.
        base: the name that all others are compared with.
        per_call: int, steps in one call.

    Returns:
        List of dicts, one for each name: `name`, `milliseconds`, `clock` and `processor`, these `[median, low, high]`.
    """
    by_clock, by_processor = ratios(clock, base), ratios(processor, base)
    return [
        {
            "name": name,
            "milliseconds": 1e3 * statistics.median(clock[name]) / per_call,
            "clock": list(by_clock[name]),
            "processor": list(by_processor[name]),
        }
        for name in clock
    ]


def table(rows):
    """The lines of a table of what `summary` returned."""
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'':{width}}  ms/step  ratio (quartiles)      processor time: ratio (quartiles)"]
    for row in rows:
        columns = ["{:.3f} ({:.3f}-{:.3f})".format(*row[kind]) for kind in ("clock", "processor")]
        lines.append(f"{row['name']:{width}}  {row['milliseconds']:7.2f}  {columns[0]:22} {columns[1]}")
    return "\n".join(lines)
