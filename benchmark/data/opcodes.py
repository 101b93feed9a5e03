"""A look at a pickle's opcodes before it is read: sizes and indices must fit the file.

The reader reserves what a file states, so a few damaged or hostile bytes can ask for many gigabytes
(a length of 2^60, a memo index of 2^31). Payloads are skipped, not read: a large package takes well
under a second.
"""

from __future__ import annotations

import os
import pickletools
from typing import BinaryIO

LENGTH_BYTES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
NEWLINES = {"stringnl_noescape_pair": 2}
MEMO = {"BINPUT", "LONG_BINPUT", "PUT"}


def check_opcodes(stream: BinaryIO) -> None:
    """Walk the pickle at the start of ``stream``, and return there.

    Raises:
        ValueError: an unknown opcode, a truncated argument, or a size beyond the file's.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    table = {ord(op.code): op for op in pickletools.opcodes}
    while code := stream.read(1):
        opcode = table.get(code[0])
        if opcode is None:
            raise ValueError(f"byte {code[0]:#x} at {stream.tell() - 1} is no pickle opcode")
        if opcode.name == "STOP":
            stream.seek(0)
            return
        kind = opcode.arg
        if kind is None:
            continue
        if kind.n == pickletools.UP_TO_NEWLINE:
            lines = [stream.readline() for _ in range(NEWLINES.get(kind.name, 1))]
            if opcode.name in MEMO and not 0 <= int(lines[0]) <= size:
                raise ValueError(f"memo index {int(lines[0])} in {size} bytes")
            continue
        taken = LENGTH_BYTES.get(kind.n)
        number = int.from_bytes(stream.read(taken or kind.n), "little")
        if taken:
            if number > size - stream.tell():
                raise ValueError(f"a length of {number} at {stream.tell()}, past the end")
            stream.seek(number, os.SEEK_CUR)
        elif opcode.name in MEMO and number > size:
            raise ValueError(f"memo index {number} in {size} bytes")
    raise ValueError(f"ends after {size} bytes, in the middle")
