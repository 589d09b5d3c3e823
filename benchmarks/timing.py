"""Times of several things, taken in turns, so that what else the machine does hits all alike."""

import statistics
import time


def interleaved(functions, rounds):
    """Runs each of `functions` once per round and returns the seconds of each, in lists.

    Args:
        functions: dict of name to function without arguments that blocks until its work is done.
            Each is run once before, untimed.
        rounds: int.
    """
    for function in functions.values():
        function()
    seconds = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(seconds, base):
    """Median and quartiles, per name, of the seconds over those of `base` in the same round."""
    found = {}
    for name, values in seconds.items():
        each = [value / of_base for value, of_base in zip(values, seconds[base], strict=True)]
        low, middle, high = statistics.quantiles(each, n=4)
        found[name] = (middle, low, high)
    return found


def table(seconds, base, per_call=1):
    """The lines of a table: median milliseconds, ratio to `base`, and the quartiles of the ratio.

    Args:
        seconds: what `interleaved` returned.
        base: the name that all others are compared with.
        per_call: int, steps in one call.
    """
    width = max(len(name) for name in seconds)
    lines = [f"{'':{width}}  ms/step   ratio  (quartiles)"]
    for name, (middle, low, high) in ratios(seconds, base).items():
        milliseconds = 1e3 * statistics.median(seconds[name]) / per_call
        lines.append(f"{name:{width}}  {milliseconds:7.2f}  {middle:6.3f}  ({low:.3f}-{high:.3f})")
    return "\n".join(lines)
