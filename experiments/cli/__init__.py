"""The command line of bin/train, bin/bench and bin/sample."""
