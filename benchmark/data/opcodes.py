"""A look at a pickle's opcodes before it is read: sizes and indices must fit the file.

The reader reserves what a file states, so a few damaged or hostile bytes can ask for many gigabytes
(a length of 2^60, a memo index of 2^31). Payloads are skipped, not read: a large package takes well
under a second.

A tuple is hashed with all that is in it, and what it shares counts each time it occurs: forty pairs
of each other take days. So the walk keeps how many items each value stands for.
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
RECALL = {"BINGET", "LONG_BINGET", "GET"}
HASHED = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"}
FREE_ITEMS = 10**6
ITEMS_PER_BYTE = 100
"""A package may recall so many shared items: ordinary ones stay below one a byte."""


def check_opcodes(stream: BinaryIO) -> None:
    """Walk the pickle at the start of ``stream``, and return there.

    Raises:
        ValueError: an unknown opcode, a truncated argument, or a size beyond the file's.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    table = {ord(op.code): op for op in pickletools.opcodes}
    items = _Items(FREE_ITEMS + ITEMS_PER_BYTE * size)
    while code := stream.read(1):
        opcode = table.get(code[0])
        if opcode is None:
            raise ValueError(f"byte {code[0]:#x} at {stream.tell() - 1} is no pickle opcode")
        if opcode.name == "STOP":
            stream.seek(0)
            return
        kind = opcode.arg
        if kind is None:
            items.step(opcode, 0)
            continue
        if kind.n == pickletools.UP_TO_NEWLINE:
            lines = [stream.readline() for _ in range(NEWLINES.get(kind.name, 1))]
            if opcode.name in MEMO and not 0 <= int(lines[0]) <= size:
                raise ValueError(f"memo index {int(lines[0])} in {size} bytes")
            items.step(opcode, int(lines[0]) if opcode.name in MEMO | RECALL else 0)
            continue
        taken = LENGTH_BYTES.get(kind.n)
        number = int.from_bytes(stream.read(taken or kind.n), "little")
        if taken:
            if number > size - stream.tell():
                raise ValueError(f"a length of {number} at {stream.tell()}, past the end")
            stream.seek(number, os.SEEK_CUR)
        elif opcode.name in MEMO and number > size:
            raise ValueError(f"memo index {number} in {size} bytes")
        items.step(opcode, number)
    raise ValueError(f"ends after {size} bytes, in the middle")


class _Items:
    """How many items each value on the unpickler's stack stands for; MARK is 0."""

    def __init__(self, limit: int) -> None:
        self.left = limit
        self.stack: list[int] = []
        self.memo: dict[int, int] = {}

    def step(self, opcode: pickletools.OpcodeInfo, number: int) -> None:
        """Follow one opcode. Raises ValueError, or IndexError where the stack has too little."""
        name = opcode.name
        if name in MEMO or name == "MEMOIZE":
            self.memo[len(self.memo) if name == "MEMOIZE" else number] = self.stack[-1]
            return
        if name in RECALL or name == "DUP":
            weight = self.stack[-1] if name == "DUP" else self.memo.get(number, 1)
            self.left -= weight
            if self.left < 0:
                raise ValueError("values shared within values, without end")
            self.stack.append(weight)
            return
        taken = self._take(opcode)
        weight = 1 + sum(taken) if name in HASHED else 1
        for value in opcode.stack_after:
            self.stack.append(0 if value is pickletools.markobject else weight)

    def _take(self, opcode: pickletools.OpcodeInfo) -> list[int]:
        """What an opcode takes off the stack, a mark and all above it included."""
        before = list(opcode.stack_before)
        taken: list[int] = []
        if pickletools.markobject in before:
            while (weight := self.stack.pop()) != 0:
                taken.append(weight)
            before = before[: before.index(pickletools.markobject)]
        return taken + [self.stack.pop() for _ in before]
