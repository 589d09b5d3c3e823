"""One walk over the graph serves pruning, costs and the placing of gates."""

from tfgates.graph import rules, tensorflow_functions  # noqa: F401
from tfgates.graph.elementwise import ElementwiseRule
from tfgates.graph.network import Network, Node, Ref
from tfgates.graph.rule import Rule, Term, register_rule
from tfgates.graph.values import map_constants
from tfgates.graph.walk import Walk

__all__ = [
    "ElementwiseRule",
    "Network",
    "Node",
    "Ref",
    "Rule",
    "Term",
    "Walk",
    "map_constants",
    "register_rule",
    "rules",
]
