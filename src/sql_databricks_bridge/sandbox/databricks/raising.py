"""`raise_error` and `assert_true`: their messages marked, so that the failure is known for what it is.

The engine tells such a message and nothing else, which could be any error's. Source: Databricks SQL reference,
"raise_error function", "assert_true function"; Databricks docs, "Error conditions" (USER_RAISED_EXCEPTION, P0001).
"""

from __future__ import annotations

from sqlglot import Token, TokenType

_MARK = "[USER_RAISED_EXCEPTION] "
_MESSAGE_AT = {"raise_error": 0, "assert_true": 1}  # which argument is the message
_OPENING = (TokenType.L_PAREN, TokenType.L_BRACKET)
_CLOSING = (TokenType.R_PAREN, TokenType.R_BRACKET)


def marked(text: str, tokens: list[Token]) -> str:
    """The statement with a mark before the message of each such call."""
    edits: list[tuple[int, str]] = []
    for index, token in enumerate(tokens[:-1]):
        wanted = _MESSAGE_AT.get(token.text.lower())
        if wanted is None or token.token_type in (TokenType.STRING, TokenType.IDENTIFIER):
            continue
        if tokens[index + 1].token_type is not TokenType.L_PAREN:
            continue
        starts, closing = _arguments(tokens, index + 1)
        if closing is None or len(starts) != wanted + 1:
            continue  # assert_true without a message, raise_error with an error class
        edits.append((starts[wanted], f"concat('{_MARK}', coalesce(CAST("))
        edits.append((closing, " AS STRING), 'null'))"))
    for position, inserted in sorted(edits, reverse=True):
        text = text[:position] + inserted + text[position:]
    return text


def raised_message(text: str) -> str | None:
    """What a statement raised itself, in the engine's words for a failure; None where it was something else."""
    return text.removeprefix(_MARK) if text.startswith(_MARK) else None


def _arguments(tokens: list[Token], opening: int) -> tuple[list[int], int | None]:
    """Where each argument of a call starts in the text, and where its closing parenthesis stands."""
    depth, starts = 0, [tokens[opening].end + 1]
    for token in tokens[opening:]:
        depth += (token.token_type in _OPENING) - (token.token_type in _CLOSING)
        if token.token_type is TokenType.COMMA and depth == 1:
            starts.append(token.end + 1)
        if depth == 0:
            return starts, token.start
    return starts, None
