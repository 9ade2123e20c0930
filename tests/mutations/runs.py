"""Bugs of whole runs: random numbers, warm-up, resuming, and the language below."""

from tests.mutations.bug import INFERENCE, Bug

NUMBERS = (
    INFERENCE + "test_streams.py::"
    "test_a_chains_numbers_are_those_of_its_transition_for_all_chains[3-5]"
)
MASS = "tests/ppl_core/test_unconstrained.py::test_the_mass_on_the_real_line_is_one"
ALGORITHM_5 = (
    INFERENCE + "test_dual_averaging.py::test_step_sizes_are_those_of_algorithm_5"
)
DRAWING = INFERENCE + "test_drawing.py"
WARMUP = INFERENCE + "test_warmup.py::"
METRIC = INFERENCE + "test_metric.py::"
WINDOWS = INFERENCE + "test_windows.py"
NUTS = "experiments/inference/nuts.py"

BUGS = (
    # Random numbers
    Bug(
        "all transitions have one transition's random numbers",
        "experiments/inference/streams.py",
        "first + np.arange(num_rows, dtype=np.int32)[:, np.newaxis]",
        "first + 0 * np.arange(num_rows, dtype=np.int32)[:, np.newaxis]",
        (NUMBERS,),
    ),
    Bug(
        "the momentum is not refreshed",
        NUTS,
        "draw, momentum = tree.draw, stream_lookup.momentum(numbers, drawn)",
        "draw, momentum = tree.draw, stream_lookup.momentum(numbers, numbers.first)",
        (DRAWING,),
    ),
    Bug(
        "searches for a step size use the draws' random numbers",
        "experiments/inference/warmup.py",
        "seed = philox.fold_in(seed, SEARCH_SEED - number)",
        "seed = seed",
        (WARMUP + "test_starts_searches_and_draws_have_random_numbers_of_their_own",),
    ),
    Bug(
        "a chain starts by its place, not by its number",
        "experiments/inference/starts.py",
        "uniform = philox.uniform(seed, (num_chains, dim), first_chain)",
        "uniform = philox.uniform(seed, (num_chains, dim))",
        (WARMUP + "test_a_chain_warms_up_alone_as_it_does_among_others[diagonal]",),
    ),
    Bug(
        "kept draws have the random numbers of warm-up",
        "experiments/inference/drawing.py",
        "first_draw=settings.num_warmup + num_done,",
        "first_draw=num_done,",
        (DRAWING,),
    ),
    # Warm-up
    Bug(
        "adaptation goes on after warm-up",
        "experiments/inference/drawing.py",
        "adapting=False,",
        "adapting=True,",
        (DRAWING,),
    ),
    Bug(
        "dual averaging does not shrink",
        "experiments/inference/dual_averaging.py",
        "log_value = step.log_centre - error * root / GAIN",
        "log_value = step.log_average - error * root / GAIN",
        (ALGORITHM_5,),
    ),
    Bug(
        "dual averaging does not delay",
        "experiments/inference/dual_averaging.py",
        "share = 1.0 / (count + DELAY)",
        "share = 1.0 / count",
        (ALGORITHM_5,),
    ),
    Bug(
        "the averaged step size forgets too slowly",
        "experiments/inference/dual_averaging.py",
        "weight = 1.0 / (root * tf.sqrt(root))",
        "weight = 1.0 / count",
        (ALGORITHM_5,),
    ),
    Bug(
        "the last step size is kept, not the averaged one",
        "experiments/inference/step_size.py",
        "averaged = np.exp(np.asarray(step.log_average))",
        "averaged = np.asarray(step.value)",
        (ALGORITHM_5,),
    ),
    Bug(
        "a new metric does not begin the step size anew",
        "experiments/inference/warmup.py",
        "step=_arrays(step_size.begin(found.step_size)),",
        "step=_arrays(state.step._replace(value=found.step_size)),",
        (WARMUP + "test_step_sizes_adapt_anew_with_each_metric_and_with_nothing_else",),
    ),
    Bug(
        "variances are divided by n",
        "experiments/inference/metric.py",
        "return num, scatter / (num - 1)",
        "return num, scatter / num",
        (METRIC + "test_diagonal_metric_is_numpys_variance_shrunk",),
    ),
    Bug(
        "the shrinkage counts as ten draws",
        "experiments/inference/metric.py",
        "PRIOR_DRAWS = 5.0",
        "PRIOR_DRAWS = 10.0",
        (METRIC + "test_ten_draws_of_variances_4_and_0_are_shrunk_as_stan_does",),
    ),
    Bug(
        "a pooled metric hides that chains are apart",
        "experiments/inference/metric.py",
        "scatter = (scatter.sum(axis=0) + num * between)[np.newaxis]",
        "scatter = scatter.sum(axis=0)[np.newaxis]",
        (
            METRIC + "test_pooled_metrics_are_numpys_of_all_draws_around_their_common_"
            "mean",
        ),
    ),
    Bug(
        "a window's moments go on into the next",
        "experiments/inference/warmup.py",
        "    state = state._replace(scale=scale, moments=moments)\n",
        "    state = state._replace(scale=scale)\n",
        (WARMUP + "test_a_window_estimates_from_its_own_draws",),
    ),
    Bug(
        "a window ends one draw late",
        "experiments/inference/windows.py",
        "        end = first + size\n",
        "        end = first + size + 1\n",
        (WINDOWS,),
    ),
    Bug(
        "the last window leaves no room for the next one's half",
        "experiments/inference/windows.py",
        "if len(found) > 1 and end + size > stop:",
        "if len(found) > 1 and end + size >= stop:",
        (WINDOWS,),
    ),
    # Resuming
    Bug(
        "a resumed run repeats a draw",
        "experiments/inference/drawing.py",
        "num_done = 0 if drawing is None else int(drawing.num_done)",
        "num_done = 0 if drawing is None else int(drawing.num_done) - 1",
        (DRAWING,),
    ),
    Bug(
        "a resumed run goes on from the end of warm-up",
        "experiments/inference/drawing.py",
        "position = found.position if drawing is None else drawing.position",
        "position = found.position",
        (DRAWING,),
    ),
    # The language
    Bug(
        "a gradient lacks the groups' entries beyond the first eight",
        "ppl_core/gathering.py",
        "row = np.repeat(np.cumsum(blocks) - blocks, counts) + rank // terms",
        "row = np.repeat(np.cumsum(blocks) - blocks, counts)",
        ("tests/ppl_core/test_gathering.py",),
    ),
    Bug(
        "the Jacobian counts twice",
        "ppl_core/unconstrained.py",
        "log_dets.append(tf.broadcast_to(log_det, site.log_det_shape))",
        "log_dets.append(tf.broadcast_to(2 * log_det, site.log_det_shape))",
        (MASS,),
    ),
    Bug(
        "a constant log determinant counts once for a whole variable",
        "ppl_core/unconstrained.py",
        "log_dets.append(tf.broadcast_to(log_det, site.log_det_shape))",
        "log_dets.append(log_det)",
        (
            "tests/ppl_core/test_constant_determinants.py::"
            "test_a_constant_log_determinant_counts_once_for_each_entry",
        ),
    ),
    Bug(
        "the gradient leaves out the data",
        "ppl_core/unconstrained.py",
        "grad = add(tf.cast(grad, log_prob.dtype) for grad in grads)",
        "grad = tf.cast(grads[-1], log_prob.dtype)",
        (
            "tests/ppl_core/test_gradients.py::"
            "test_what_is_behind_a_stopped_gradient_needs_none",
        ),
    ),
    Bug(
        "the inner one of two scales is dropped",
        "ppl_core/weights.py",
        "return inner * outer",
        "return outer",
        (
            "tests/ppl_core/test_tracers.py::"
            "test_scale_multiplies_log_probs_and_nested_scales_multiply",
        ),
    ),
)
