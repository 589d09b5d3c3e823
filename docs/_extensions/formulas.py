"""Formulas of docstrings, which are written as code, as formulas of mathematics: what is no formula is left alone."""

import ast
import re

GREEK = {"alpha", "beta", "gamma", "delta", "eta", "lambda", "mu", "phi", "rho", "sigma", "tau", "theta", "zeta"}
FUNCTIONS = {
    "clip",
    "exp",
    "log",
    "log1p",
    "max",
    "mean",
    "min",
    "relu",
    "sigmoid",
    "sign",
    "sqrt",
    "sum",
    "tanh",
    "S",
    "P",
    "E",
}
BINARY = {ast.Add: (1, "+"), ast.Sub: (1, "-"), ast.Mult: (2, r"\,"), ast.MatMult: (2, r"\,"), ast.Div: (2, "/")}
COMPARE = {ast.Lt: "<", ast.LtE: r"\le", ast.Gt: ">", ast.GtE: r"\ge", ast.Eq: "=", ast.NotEq: r"\ne"}


class NoFormulaError(Exception):
    """Something in it is code."""


def latex(text):
    """A formula in LaTeX, or None for what is none: a call with keywords, a string, a dotted name, an assignment."""
    if re.search(r"[\"'.\[\]{}~|`]\D|\w=|=\w|>>>|^-?[\d.]+$", text) or not re.search(r"[+*/^]| = | - |<|>|\w\(", text):
        return None
    before, arrow, after = text.partition(" <- ")
    if arrow:
        parts = [symbol(before) if before.isidentifier() else latex(before), latex(after)]
        return rf"{parts[0]} \leftarrow {parts[1]}" if all(parts) else None
    code = re.sub(r"\blog (\w+)", r"log(\1)", text).replace("^", "**").replace(" = ", " == ")
    code = re.sub(r"\blambda\b", "lambda_", code)
    try:
        tree = ast.parse(code, mode="eval").body
        if not any(known(node) for node in ast.walk(tree)):
            return None
        return written(tree)[1].replace("==", "=")
    except (SyntaxError, NoFormulaError):
        return None


def known(node):
    """Whether it is what formulas have and code rarely: a function of mathematics, a Greek or a single letter."""
    name = node.id.rstrip("_") if isinstance(node, ast.Name) else None
    return name is not None and (name in GREEK or name in FUNCTIONS or len(name) == 1)


def symbol(name):
    name = name.rstrip("_")
    stem, _, index = name.partition("_")
    if stem in GREEK or len(stem) == 1:
        made = rf"\{stem}" if stem in GREEK else stem
        return rf"{made}_{{\text{{{index}}}}}" if len(index) > 1 else f"{made}_{index}" if index else made
    return rf"\text{{{name.replace('_', ' ')}}}"


def written(node):
    """Pair of how tightly a part binds and its LaTeX."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return 9, repr(node.value)
    if isinstance(node, ast.Name):
        return 9, symbol(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return 1, f"-{inside(node.operand, 2)}"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return 3, f"{inside(node.left, 4)}^{{{written(node.right)[1]}}}"
    if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
        binds, sign = BINARY[type(node.op)]
        closer = isinstance(node.op, (ast.Sub, ast.Div))
        return binds, f"{inside(node.left, binds)} {sign} {inside(node.right, binds + closer)}"
    if isinstance(node, ast.Compare) and all(type(op) in COMPARE for op in node.ops):
        parts = [written(node.left)[1]]
        for op, right in zip(node.ops, node.comparators, strict=True):
            parts += [COMPARE[type(op)], written(right)[1]]
        return 0, " ".join(parts)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords and node.args:
        name = node.func.id
        if name not in FUNCTIONS and len(name) > 1:
            raise NoFormulaError
        shown = name if len(name) == 1 else rf"\operatorname{{{name}}}"
        return 9, f"{shown}({', '.join(written(each)[1] for each in node.args)})"
    if isinstance(node, ast.Tuple):
        return 9, f"({', '.join(written(each)[1] for each in node.elts)})"
    raise NoFormulaError


def inside(node, least):
    binds, text = written(node)
    return text if binds >= least else f"({text})"
