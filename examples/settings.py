"""The flags of `train.py`, the recipes that set their defaults, and what is refused before anything runs."""

import networks
import optimization
import recipes
import strategies
from absl import flags
from failure import Failure

import tfgates

FLAGS = flags.FLAGS
flags.DEFINE_enum("recipe", None, sorted(recipes.RECIPES), "A paper's settings; other flags override them.")
flags.DEFINE_enum("model", "lenet5", sorted(tfgates.applications.__all__), "Network.")
flags.DEFINE_string("dataset", "digits", "digits, a name that tensorflow-datasets knows, or NAME of a NAME.npz.")
flags.DEFINE_string("data_dir", None, "Folder of tensorflow-datasets, or of NAME.npz without TensorFlow.")
flags.DEFINE_bool("download", False, "Download a data set that is not in --data_dir into it.")
flags.DEFINE_bool("augment", False, "Crop and flip training images at random.")
flags.DEFINE_enum("gate", "hard_concrete", networks.GATES, "Method; dep_hc is hard concrete with a generator.")
flags.DEFINE_enum("generator", None, ["forward", "backward"], "One generator of this order makes all logits.")
flags.DEFINE_enum("sampling", None, ["batch", "example"], "Draw gates once per batch or per example (Bernoulli).")
flags.DEFINE_list("l0", None, "Loss per 60,000 weights: one number, or one per gated layer.")
flags.DEFINE_float("penalty_params", None, "Loss per expected parameter of the whole network, in place of --l0.")
flags.DEFINE_string("params", None, "Budget in place of --l0: a fraction of the parameters, or such as 12k.")
flags.DEFINE_string("macs", None, "Budget in place of --l0: a fraction of the MACs, or such as 2M.")
flags.DEFINE_float("scaling_strength", 0.01, "L1 strength, for --gate=scaling.")
flags.DEFINE_float("initial_open_probability", 0.832, "Of each gate; 0.832 is hard concrete at logits 0.")
flags.DEFINE_integer("epochs", 60, "Epochs in total, fine-tuning included.", lower_bound=1)
flags.DEFINE_bool("dense", True, "Train the network without gates too, as long, to compare with.")
flags.DEFINE_integer("finetune_epochs", 10, "How many of them fine-tune the pruned network.", lower_bound=0)
flags.DEFINE_integer("min_units", 1, "Units to keep in a layer that has closed altogether.", lower_bound=0)
flags.DEFINE_integer("round_to", 1, "Round widths up to a multiple of this.", lower_bound=1)
flags.DEFINE_integer("batch_size", 32, "Images per step, over all replicas.", lower_bound=1)
flags.DEFINE_integer("image_size", None, "Resize images to this; 28 for digits, 224 for photographs.", lower_bound=1)
flags.DEFINE_enum("optimizer", "adam", optimization.OPTIMIZERS, "Of the weights.")
flags.DEFINE_float("learning_rate", 2e-3, "Of the weights.", lower_bound=0.0)
flags.DEFINE_list("boundaries", ["cosine"], "Epochs at which it is multiplied by --factor; or cosine, to 0.")
flags.DEFINE_float("factor", 0.1, "See --boundaries.")
flags.DEFINE_float("momentum", 0.9, "Of SGD.")
flags.DEFINE_bool("nesterov", True, "Of SGD.")
flags.DEFINE_float("weight_decay", 0.0, "Of the weights; gates have none.", lower_bound=0.0)
flags.DEFINE_float("average", None, "Momentum of an average of the weights, which is what is kept.")
flags.DEFINE_float(
    "gate_learning_rate", 0.02, "Of the gates (Adam), constant; 0.003 with a generator, by the steps with a budget."
)
flags.DEFINE_enum("finetune_optimizer", "adam", optimization.OPTIMIZERS, "Of the pruned network.")
flags.DEFINE_float("finetune_learning_rate", 2e-3, "Of the pruned network, decayed by a cosine to 0.")
flags.DEFINE_float("validation_share", 1 / 12, "Share of the training images held out for validation.")
flags.DEFINE_enum("strategy", "none", strategies.STRATEGIES, "One device, all of this machine, several machines.")
flags.DEFINE_integer("replicas", None, "Devices of this machine; all GPUs if not given.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Of the weights, the gates and the shuffling.")
flags.DEFINE_string("out", "runs/digits", "Folder for models, logs and the report.")
flags.DEFINE_integer("verbose", 1, "0 silent, 1 progress bar, 2 one line per epoch.", lower_bound=0, upper_bound=2)


# Of a generator: what it moves is in front of a tanh, on whose scale of 1 a step goes further than on that of logits.
GENERATOR_LEARNING_RATE = 3e-3


def apply_recipe():
    """Makes the recipe's settings the defaults of the flags."""
    if FLAGS.recipe is not None:
        for name, value in recipes.as_flags(FLAGS.recipe).items():
            FLAGS.set_default(name, value)
    elif FLAGS.generator or FLAGS.gate == networks.GENERATED:
        FLAGS.set_default("gate_learning_rate", GENERATOR_LEARNING_RATE)


def explicit(name):
    """Whether a flag was given on the command line."""
    return not FLAGS[name].using_default_value


def check():
    """Ends the program with one sentence if the flags contradict each other."""
    if FLAGS.finetune_epochs >= FLAGS.epochs:
        raise Failure(f"--finetune_epochs must be less than --epochs. Received: {FLAGS.finetune_epochs}")
    if FLAGS.gate == "scaling":
        for name in ("generator", "sampling", "params", "macs", "l0", "penalty_params"):
            if explicit(name):
                raise Failure(f"--{name} must not be given with --gate=scaling, which has --scaling_strength")
    if FLAGS.sampling == "example" and not networks.draws_per_example(FLAGS.gate):
        raise Failure(f"--sampling=example is for Bernoulli gates. Received: --gate={FLAGS.gate}")
    given = [name for name in ("l0", "penalty_params") if explicit(name)]
    if given and budget() is not None:
        raise Failure(f"--{given[0]} must not be given with a budget, --params or --macs")
    penalties()
    boundaries()


def numbers(name, values):
    try:
        return [float(value) for value in values]
    except ValueError as error:
        raise Failure(f"--{name} must be numbers. Received: {','.join(map(str, values))}") from error


def boundaries():
    """`"cosine"`, or the list of epochs at which the learning rate falls."""
    if FLAGS.boundaries == ["cosine"]:
        return "cosine"
    return [int(epoch) for epoch in numbers("boundaries", FLAGS.boundaries)]


def penalties():
    """The list of `--l0`, or None: there is none, or a budget takes its place."""
    if FLAGS.l0 is None or budget() is not None:
        return None
    return numbers("l0", FLAGS.l0)


def penalty_params():
    """`--penalty_params`, or None: there is none, or a budget takes the place of a recipe's."""
    return None if budget() is not None else FLAGS.penalty_params


def budget():
    """The `tfgates.Budget` of `--params` and `--macs`, or None."""
    bounds = {name: getattr(FLAGS, name) for name in ("params", "macs") if getattr(FLAGS, name) is not None}
    if not bounds:
        return None
    try:
        return tfgates.Budget(**{name: bound(text) for name, text in bounds.items()})
    except ValueError as error:
        raise Failure(f"--params and --macs: {error}") from error


def bound(text):
    """A fraction as a number, an absolute bound as it was written."""
    try:
        value = float(text)
    except ValueError:
        return text
    return value if value <= 1 else text
