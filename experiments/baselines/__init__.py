"""The compared systems, each behind `prepare` and `log_prob_and_grad` of its module."""
