"""Making new layers from the layers of a network, each once, weights included."""

import keras


class Copier:
    """Makes layers while a network is rebuilt and fills in their weights at the end."""

    def __init__(self):
        self._made = {}
        self._pending = []
        self._names = set()

    def made(self, node):
        """The successor of the call's layer if an earlier call made it, else None."""
        return self._made.get(id(node.op))

    def make(self, node, kind, config, weights):
        """Makes the successor of the call's layer.

        Args:
            kind: its class.
            config: its config.
            weights: dict from the attribute of a variable to its value.
        """
        config = dict(config, name=self.name(node))
        layer = kind.from_config(config)
        self._made[id(node.op)] = layer
        self._pending.append((layer, weights))
        return layer

    def copy(self, node):
        """A layer or operator like the call's, with its weights."""
        if id(node.op) in self._made:
            return self._made[id(node.op)]
        if not isinstance(node.op, keras.Layer):
            return copy_operation(node.op)
        layer = self.make(node, type(node.op), node.op.get_config(), None)
        self._pending[-1] = (layer, node.op)
        return layer

    def name(self, node):
        """The layer's own name, or, where nested models share names, the path to it."""
        name = node.op.name
        if name in self._names:
            name = node.name.replace("/", "_")
        count = 1
        while name in self._names:
            name, count = f"{node.name.replace('/', '_')}_{count}", count + 1
        self._names.add(name)
        return name

    def finish(self):
        """Fills in the weights, once all layers are built."""
        for layer, weights in self._pending:
            if isinstance(weights, keras.Layer):
                for new, old in zip(layer.variables, weights.variables, strict=True):
                    new.assign(old)
                continue
            for path, value in weights.items():
                variable = layer
                for part in path.split("."):
                    variable = getattr(variable, part)
                variable.assign(value.reshape(variable.shape))


def copy_operation(op):
    """A fresh operator like `op`, so that the original takes no part in another graph."""
    try:
        return op.__class__.from_config(op.get_config())
    except (TypeError, ValueError, NotImplementedError):
        return op
