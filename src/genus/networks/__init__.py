"""f(x, t, cond); knows no loss."""
