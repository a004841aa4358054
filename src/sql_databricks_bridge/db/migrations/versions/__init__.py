"""The steps, one module each: a store only ever goes forward."""
