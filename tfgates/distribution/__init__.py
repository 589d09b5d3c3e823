"""Training on several devices and several machines (`tf.distribute`)."""

from tfgates.distribution.limits import check_supported
from tfgates.distribution.multi_worker import in_multi_worker, local_batch, reducible, worker_of

__all__ = ["check_supported", "in_multi_worker", "local_batch", "reducible", "worker_of"]
