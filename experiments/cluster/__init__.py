"""The processes that train together: identity, rendezvous and supervision."""
