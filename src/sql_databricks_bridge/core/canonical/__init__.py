"""Canonical text: a row as one text that no other row has, written by SQL Server or from what landed, the same.

Its SHA-256 is what fingerprints and `bridge verify` compare. A row's text is its columns' one after the other. Each is
`N` for NULL, or else ends where its own text says: numbers, times and hexadecimal digits hold no `;` and end with one
(a NULL too); strings come behind their length in UTF-16 bytes and a `:`. So no two rows have the same text, as long as
no two values of a type have.

The text is hashed as UTF-16LE, which is what SQL Server's nvarchar is; where no column has a piece that is a string,
every character is ASCII and it is hashed as that (`columns.one_byte`).
"""

from __future__ import annotations
