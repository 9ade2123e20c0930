"""The command line of bin/train and bin/bench."""
