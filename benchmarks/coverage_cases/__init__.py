"""The networks of `benchmarks/coverage.py`: functions that build them, by `source/name`."""

from . import applications, blocks_of_images, blocks_of_sequences, keras_hub_backbones, packages

NETWORKS = {
    f"{module.SOURCE}/{name}": build
    for module in (keras_hub_backbones, applications, packages, blocks_of_images, blocks_of_sequences)
    for name, build in module.NETWORKS.items()
}
