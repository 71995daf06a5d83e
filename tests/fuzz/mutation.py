"""Mutations of valid requests into nearly valid ones.

Pure: the bytes depend on the seeds and the random numbers alone. Most inputs are small, since many
small ones reach more of a parser than a few large ones; each is a seed after one to five
mutations, some of random bytes and some of the parts of requests.
"""

import re
from collections.abc import Callable, Sequence
from random import Random

__all__ = ["MAX_INPUT_BYTES", "Mutator"]

MAX_INPUT_BYTES = 16 * 1024
SHARE_OF_COSTLY = 0.01
SHARE_OF_LONG_PIPELINES = 0.0001

INTEGERS = (
    *(b"0", b"1", b"2", b"3", b"4", b"5", b"7", b"9", b"10", b"15", b"16", b"17", b"20", b"31"),
    *(b"64", b"93", b"94", b"100", b"127", b"128", b"150", b"200", b"255", b"256", b"300"),
    *(b"512", b"1023", b"1024", b"1025", b"1999", b"2000", b"2001", b"2002", b"4095", b"4096"),
    *(b"4097", b"16384", b"65535", b"65536", b"500000", b"1000000000", b"2147483647"),
    *(b"2147483648", b"4294967295", b"9223372036854775807", b"9223372036854775808"),
    *(b"18446744073709551615", b"999999999999", b"-1", b"-0", b"+1", b"00", b"007", b"1e9"),
    *(b"0x10", b"1.0", b"\xd9\xa1", b"", b"-9223372036854775808", b"9" * 100),
)
"""Limits of this server and of machines, each with its neighbours, and what is no number."""

TOKENS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"*",
        b"$",
        b"*1\r\n",
        b"$4\r\n",
        b"$0\r\n\r\n",
        b"*0\r\n",
        b"*-1\r\n",
    ),
    *(b" ", b"\t", b'"', b"'", b"\\", b"\\x", b"\0", b"\xff", b":1\r\n", b"%1\r\n", b"_\r\n"),
    *(b"FIB.FIRST", b"FIB.RANGE", b"FIB.NUMBER", b"FIB.SIZE", b"FORMAT", b"array", b"json"),
    *(
        b"FIB.DIGITS",
        b"FIB.MOD",
        b"FIB.INDEX",
        b"FIB.LIMITS",
        b"FIRST",
        b"LAST",
        b"DIGITS",
        b"FROM",
    ),
    *(b"text", b"csv", b"ndjson", b"bfile", b"binary", b"PING", b"ECHO", b"QUIT", b"RESET"),
    *(b"SELECT", b"TIME", b"AUTH", b"default", b"secret", b"HELLO", b"2", b"3", b"SETNAME"),
    *(b"MULTI", b"EXEC", b"DISCARD", b"COMMAND", b"DOCS", b"COUNT", b"LIST", b"INFO", b"CLIENT"),
    *(b"SETINFO", b"LIB-NAME", b"GETNAME", b"ID", b"KILL", b"SKIPME", b"yes", b"no", b"TYPE"),
    *(b"normal", b"ADDR", b"LADDR", b"USER", b"NO-EVICT", b"CONFIG", b"GET", b"*", b"[a-z]*"),
    *(b"SLOWLOG", b"LEN", b"LATENCY", b"HISTOGRAM", b"LATEST", b"HTTP/1.1", b"POST ", b"Host: "),
    *(b"GET / HTTP/1.0\r\n", b"PING\r\n", b"MULTI\r\n", b"EXEC\r\n", b"HELLO 3\r\n", b"QUIT\r\n"),
    *(b"AUTH secret\r\n", b"*1\r\n$4\r\nPING\r\n", b"*2\r\n$4\r\nECHO\r\n$3\r\na\r\n\r\n"),
    *(b"FIB.RANGE 1500 1503\r\n", b"FIB.FIRST 90\r\n", b"x" * 130, b"\xff" * 130),
)
"""What the protocol and the commands are made of."""

_NUMBER = re.compile(rb"\d+")
_FRAMING = re.compile(rb"[*$]\d+\r\n")

_CLIENT = re.compile(rb"client|\\", re.IGNORECASE)  # the backslash: it may be spelt "\x43LIENT"


class Mutator:
    """Generator of inputs from seeds."""

    def __init__(self, cheap: Sequence[bytes], costly: Sequence[bytes], rng: Random) -> None:
        """Store the seeds.

        Args:
            cheap: Seeds for most inputs, at least one.
            costly: Seeds for few inputs, because they or their replies are long.
            rng: Decides everything.
        """
        self._random = rng.random  # measured: five times as fast as randrange
        self._bytes = rng.randbytes
        self._cheap = cheap
        self._costly = costly or cheap
        self._mutations: tuple[Callable[[bytes], bytes], ...] = (
            *(self._flip_bit, self._set_byte, self._insert_bytes, self._delete_block),
            *(self._duplicate_block, self._swap_blocks, self._truncate, self._cut_head),
            *(self._splice, self._splice, self._append_seed, self._prepend_seed),
            *(self._change_number, self._change_number, self._change_number),
            *(self._insert_token, self._insert_token, self._insert_token, self._replace_word),
            *(self._replace_word, self._replace_word, self._swap_case, self._swap_case),
            *(self._only_line, self._only_line, self._frame, self._frame, self._repeat),
        )

    def __call__(self) -> bytes:
        """Return the next input."""
        rnd = self._random
        if rnd() < SHARE_OF_LONG_PIPELINES:
            return self._long_pipeline()
        data = self._seed()
        for _ in range(1 + int(rnd() * rnd() * 5)):
            data = self._mutations[int(rnd() * len(self._mutations))](data)
        return data[:MAX_INPUT_BYTES]

    def crowd(self, count: int) -> list[bytes]:
        """Return inputs to run concurrently: most request much, and the first two the same.

        None has a CLIENT command, whose reply would contain the others.
        """
        found: list[bytes] = []
        while len(found) < count:
            data = self()
            if self._random() < 0.7:
                data = self._mutations[self._below(len(self._mutations))](
                    self._costly[self._below(len(self._costly))]
                )
            if not _CLIENT.search(data):
                found += [data] if found else [data, data]
        return found

    def _below(self, limit: int) -> int:
        return int(self._random() * limit)

    def _seed(self) -> bytes:
        pool = self._costly if self._random() < SHARE_OF_COSTLY else self._cheap
        return pool[self._below(len(pool))]

    def _long_pipeline(self) -> bytes:
        """Repeat a request up to the longest input."""
        request = self._cheap[self._below(len(self._cheap))] + b"\r\n"
        return (request * (MAX_INPUT_BYTES // len(request)))[self._below(2) :]

    def _block(self, data: bytes) -> tuple[int, int]:
        """Choose a part, usually a short one."""
        start = self._below(len(data) + 1)
        return start, min(len(data), start + 1 + int(self._random() ** 3 * 40))

    # Blind ones.

    def _flip_bit(self, data: bytes) -> bytes:
        if not data:
            return data
        position = self._below(len(data))
        flipped = data[position] ^ (1 << self._below(8))
        return b"%b%c%b" % (data[:position], flipped, data[position + 1 :])

    def _set_byte(self, data: bytes) -> bytes:
        position = self._below(len(data) + 1)
        return b"%b%c%b" % (data[:position], self._below(256), data[position + 1 :])

    def _insert_bytes(self, data: bytes) -> bytes:
        position = self._below(len(data) + 1)
        return data[:position] + self._bytes(1 + self._below(4)) + data[position:]

    def _delete_block(self, data: bytes) -> bytes:
        start, end = self._block(data)
        return data[:start] + data[end:]

    def _duplicate_block(self, data: bytes) -> bytes:
        start, end = self._block(data)
        return data[:end] + data[start:end] * (1 + self._below(3)) + data[end:]

    def _swap_blocks(self, data: bytes) -> bytes:
        first, second = sorted((self._block(data), self._block(data)))
        if first[1] > second[0]:
            return data
        middle = data[first[1] : second[0]]
        parts = data[slice(*second)] + middle + data[slice(*first)]
        return data[: first[0]] + parts + data[second[1] :]

    def _truncate(self, data: bytes) -> bytes:
        return data[: self._below(len(data) + 1)]

    def _cut_head(self, data: bytes) -> bytes:
        return data[self._below(len(data) + 1) :]

    def _swap_case(self, data: bytes) -> bytes:
        start, end = self._block(data)
        return data[:start] + data[start:end].swapcase() + data[end:]

    def _repeat(self, data: bytes) -> bytes:
        return data * (2 + self._below(3)) if len(data) < 100 else data

    def _only_line(self, data: bytes) -> bytes:
        lines = data[:400].split(b"\n")
        return lines[self._below(len(lines))] + b"\n"

    # Those of two seeds.

    def _splice(self, data: bytes) -> bytes:
        other = self._seed()
        return data[: self._below(len(data) + 1)] + other[self._below(len(other) + 1) :]

    def _append_seed(self, data: bytes) -> bytes:
        return data + self._seed()

    def _prepend_seed(self, data: bytes) -> bytes:
        return self._seed() + data

    # Those that know what requests are made of.

    def _change_number(self, data: bytes) -> bytes:
        found = list(_NUMBER.finditer(data, 0, 400))
        if not found:
            return data
        match = found[self._below(len(found))]
        number = INTEGERS[self._below(len(INTEGERS))]
        if self._below(4) == 0:
            number = b"%d" % (int(match[0][:9]) + self._below(5) - 2)
        return data[: match.start()] + number + data[match.end() :]

    def _token(self) -> bytes:
        return TOKENS[self._below(len(TOKENS))]

    def _insert_token(self, data: bytes) -> bytes:
        position = self._below(len(data) + 1)
        return data[:position] + self._token() + data[position:]

    def _replace_word(self, data: bytes) -> bytes:
        words = data[:400].split(b" ")
        words[self._below(len(words))] = self._token()
        return b" ".join(words) + data[400:]

    def _frame(self, data: bytes) -> bytes:
        """Turn lines into arrays with correct lengths, usually with one word changed."""
        framed = []
        for line in _FRAMING.sub(b"", data[:400]).split(b"\n", 8)[:4]:
            words = line.split()[:16]
            if words and self._random() < 0.5:
                words[self._below(len(words))] = self._token()
            framed.append(b"*%d\r\n" % len(words))
            framed += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
        return b"".join(framed)
