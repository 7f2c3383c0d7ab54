"""GPT-2's alphabet: one printable character for each byte, in which byte-level vocabularies are spelled.

Bytes that are printable in Latin-1 stand for themselves, the other 68 for the characters from U+0100 on, in order
(Radford et al. 2019; openai/gpt-2, src/encoder.py, ``bytes_to_unicode``). The space is ``Ġ``, the newline ``Ċ``.
"""

from __future__ import annotations

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
BYTE_OF_CHARACTER = {chr(byte): byte for byte in _PRINTABLE} | {
    chr(0x100 + index): byte for index, byte in enumerate(_OTHERS)
}
