"""Two versions of tfgates in turns: the fixed costs of large networks, in seconds of processor time on one thread.

    git worktree add /tmp/before 6a9fe20
    python benchmarks/opening.py --before=/tmp/before --rounds=1 --json=opening.json

Each case runs once in a process of its own, the versions in turns: what it takes to find out what a network costs, to
gate it, to prune it, to judge its units, and to make it smaller in the midst of training. Weights are random. BERT-base
and ViT-B/16 need `keras-hub`. Networks that are laid out (and their layers opened) and walks through them are counted.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import warnings

ROOT = pathlib.Path(__file__).parents[1]


def bert():
    """BERT-base."""
    import keras_hub

    return keras_hub.models.BertBackbone(30522, 12, 12, 768, 3072)


def vit():
    """ViT-B/16 at 224 x 224."""
    import keras_hub

    return keras_hub.models.ViTBackbone((224, 224, 3), 16, 12, 12, 768, 3072)


def of_applications(name):
    """A network of `keras.applications`."""
    import keras

    return getattr(keras.applications, name)(weights=None)


def vgg():
    """The VGG-like network of `training_time.py`."""
    import training_time

    return training_time.vgg()


def data(model, count=16):
    """Random images and labels."""
    import numpy as np

    generator = np.random.default_rng(0)
    images = generator.normal(size=(count, *model.input_shape[1:])).astype("float32")
    return images, generator.integers(0, model.output_shape[-1], count)


def cost(model):
    import tfgates

    return {"cost": lambda: tfgates.cost(model, length=128)}


def gate_and_prune(model):
    """Half of the units of each gate closed in between."""
    import numpy as np

    import tfgates

    made = []

    def gate():
        made.append(tfgates.gate_model(model))

    def prune():
        tfgates.prune(made[0])

    def close():
        for each in made[0].gates:
            each.logits.assign(np.where(np.arange(each.units) % 2, 3.0, -3.0))

    return {"gate": gate, "": close, "prune": prune}


def prune_by(importance):
    def case(model):
        import tfgates

        given = {"data": data(model), "loss": "sparse_categorical_crossentropy"} if importance == "taylor" else {}
        return {"prune_by": lambda: tfgates.prune_by(model, tfgates.Budget(macs=0.5), importance, **given)}

    return case


def shrink(model):
    """A training step before it, so that there are slots to cut."""
    import keras
    import numpy as np

    import tfgates

    gated = tfgates.gate_model(model, budget=tfgates.Budget(macs=0.5))
    gated.compile(keras.optimizers.AdamW(1e-3), "sparse_categorical_crossentropy")
    gated.train_on_batch(*data(model))
    closed = {gate: np.arange(gate.units) % 2 == 0 for gate in gated.gates}
    return {"shrink": lambda: tfgates.shrink(gated, closed)}


CASES = {
    "VGG-like, gate and prune": (vgg, gate_and_prune),
    "VGG-like, shrink": (vgg, shrink),
    "BERT-base, cost of 128 tokens": (bert, cost),
    "BERT-base, gate heads and units, and prune": (bert, gate_and_prune),
    "ResNet50, gate and prune": (lambda: of_applications("ResNet50"), gate_and_prune),
    "ResNet50, prune_by magnitude": (lambda: of_applications("ResNet50"), prune_by("magnitude")),
    "ResNet50, prune_by taylor, 16 images": (lambda: of_applications("ResNet50"), prune_by("taylor")),
    "MobileNetV2, gate and prune": (lambda: of_applications("MobileNetV2"), gate_and_prune),
    "ViT-B/16, cost": (vit, cost),
}


def counted():
    """Counters of networks and walks that are made, a dict that grows."""
    from tfgates.graph.network import Network
    from tfgates.graph.walk import Walk

    counts = {}
    for kind in (Network, Walk):
        original = kind.__init__

        def init(self, *args, kind=kind, original=original, **kwargs):
            counts[kind.__name__] = counts.get(kind.__name__, 0) + 1
            original(self, *args, **kwargs)

        kind.__init__ = init
    return counts


def work(name):
    """One case, in a process of its own: prints seconds and counts by phase."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    warnings.simplefilter("ignore")
    build, case = CASES[name]
    counts, found = counted(), {}
    for phase, function in case(build()).items():
        counts.clear()
        start = time.process_time()
        function()
        if phase:
            found[phase] = {"seconds": time.process_time() - start, **counts}
    print(json.dumps(found), flush=True)


def run(root, name):
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, "--work", name]
    printed = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(printed.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--before", help="folder of the other version")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--json", type=pathlib.Path, help="where to write all that was measured; what is there stays")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        return work(arguments.work)
    path = arguments.json
    done = json.loads(path.read_text()) if path and path.exists() else {}
    versions = {"before": arguments.before, "after": ROOT} if arguments.before else {"after": ROOT}
    for name in arguments.only:
        rounds = done.setdefault(name, {})
        for _ in range(arguments.rounds):
            for version, root in versions.items():
                for phase, found in run(root, name).items():
                    rounds.setdefault(phase, {}).setdefault(version, []).append(found)
        for phase, found in rounds.items():
            print(
                f"| {name}: {phase} | {' | '.join(told(found.get(version, [])) for version in versions)} |", flush=True
            )
        if path:
            path.write_text(json.dumps(done, indent=1))
    return None


def told(rounds):
    """Seconds, median, and how many networks were opened and walked through."""
    if not rounds:
        return ""
    seconds = statistics.median(each["seconds"] for each in rounds)
    return f"{seconds:.2f} s, {rounds[-1].get('Network', 0)} networks, {rounds[-1].get('Walk', 0)} walks"


if __name__ == "__main__":
    main()
