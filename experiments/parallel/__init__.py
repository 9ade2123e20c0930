"""Where work lives: what experiments see is `runtime`; the rest is behind it."""
