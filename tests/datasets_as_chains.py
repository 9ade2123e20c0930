"""Posteriors of one program given many data sets, one for each chain of a kernel."""

import tensorflow as tf

import ppl_core as ppl


class Datasets:
    """A density whose chain i is the posterior given data set i.

    The data are a variable, so that a compiled kernel serves whatever is assigned.
    """

    def __init__(self, program, data):
        """data: [chains, ...], of the program's variable y."""
        self.program, self.data = program, tf.Variable(data)
        # Of the first data set: its bijectors are those of all.
        self.posterior = ppl.posterior(program, observed={"y": data[0]})

    def log_prob_and_grad(self, position):
        """Of positions [chains, dim], all chains at once."""

        def of_one(arguments):
            vector, y = arguments
            posterior = ppl.posterior(self.program, observed={"y": y})
            return posterior.log_prob_and_grad(vector)

        return tf.vectorized_map(of_one, (position, self.data.read_value()))
