"""The syntax tree: what the parser makes and the binder reads."""

from .query_nodes import *  # noqa: F403 - one name, n, for the whole tree
from .statement_nodes import *  # noqa: F403
