"""A user's own program: found, given its data, sampled, judged and plotted."""
