"""Gradients of Bernoulli gates on another backend against enumeration; arguments: sampling, link, then estimators."""

import sys

import keras
import numpy as np

from tests.training.enumeration import assert_unbiased, data, exact_gradients, fit_moments, network

# Steps after which a bias of 5 % shows, somewhat more than tests/training/test_gated_model.py has for its networks.
STEPS = {"ar": 52_000, "arm": 40_000, "disarm": 36_000, "reinforce_leave_one_out": 40_000}

# With these weights the gates matter much; backends draw others from one seed.
SEEDS = {True: 165, False: 327}


def made(estimator, link, sampling, normalise):
    """The network of the enumeration with weights that are the same on each backend."""
    model = network(estimator, link, sampling=sampling, normalise=normalise)
    generator = np.random.default_rng(SEEDS[normalise])
    for name in ("first", "second", "last"):
        layer = model.get_layer(name)
        for variable in (layer.kernel, layer.bias):
            variable.assign(generator.uniform(-1.5, 1.5, variable.shape))
    return model


def main(sampling, link, *estimators):
    normalise = sampling == "batch"
    x, y = data(normalise)
    for estimator in estimators:
        found = fit_moments(made(estimator, link, sampling, normalise), x, y, STEPS[estimator], jit_compile="auto")
        exact = exact_gradients(made(estimator, link, sampling, normalise), x, y, link, normalise)
        for (mean, covariance), gradient in zip(found, exact, strict=True):
            direction = gradient / (gradient**2).sum()
            error = float(direction @ covariance @ direction) ** 0.5
            print(f"{keras.backend.backend()} {sampling} {link} {estimator}: {direction @ mean:.3f} +- {error:.3f}")
        assert_unbiased(found, exact)


if __name__ == "__main__":
    main(*sys.argv[1:])
