"""The extraction engine: it takes ports and never imports an adapter."""
