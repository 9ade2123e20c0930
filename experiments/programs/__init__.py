"""The programs of the paper, each with its claims.  `make programs` runs them all."""
