"""What is said where a run is right but cannot be what was meant."""


class GatesWarning(UserWarning):
    """A training or a pruning that does nothing, or that ends elsewhere than it was asked to.

    Silence it, or make an error of it, as any warning: `warnings.simplefilter("error", tfgates.GatesWarning)`.
    """
