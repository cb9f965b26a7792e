r"""Byte expressions: regular expressions in the syntax of RE2, matched in full (BT 3, and Cloud Bigtable's filters).

The problem. A server runs expressions that its clients write. Python's `re` backtracks: an expression of twenty bytes
can keep it, and with it the event loop, busy for years.

The idea. RE2 matches in time linear in the text, and refuses what cannot be matched so (look-ahead, back-references).
The bytes of a key or a value are taken as Latin-1, one character each, and an expression must match *all* of them.
As in RE2, `.` matches any byte but a newline; `\C` matches every byte.

>>> page = Expression("the expression", "page/.*")
>>> page.matches(b"page/12"), page.matches(b"my page/12"), page.low, page.high
(True, False, b'page/', b'page0\x00')

Whatever an expression matches is at least `low` and below `high` (None: no bound), so a scan need not look elsewhere.
An expression that matches exactly one text has that text as `literal`.

>>> Expression("the expression", r"com\.example").literal
b'com.example'
"""

import re

import re2

from runtime.errors import InvalidRequest
from tablet.engine.model.checks import Text, as_bytes

_MEMORY_BYTES = 1 << 20
"""What RE2 may use for one compiled expression; a longer one is refused."""
_BOUND_BYTES = 32
"""How long a bound RE2 looks for."""
_KNOWN = 1024
"""How many answers an expression remembers: columns repeat in every row."""
_KNOWN_BYTES = 128
"""Answers about longer texts are not remembered, so that an expression holds little memory."""
_PLAIN = re.compile(rb"(?:[^\\.+*?()\[\]{}^$|]|\\[^0-9A-Za-z])*", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


class Expression:
    """One compiled expression. Raises InvalidRequest for what RE2 cannot take, with what is wrong with it."""

    __slots__ = ("_answers", "_full", "high", "literal", "low", "source")

    def __init__(self, what: str, given: Text) -> None:
        self.source = as_bytes(what, given)
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        options.max_mem = _MEMORY_BYTES
        options.never_capture = True
        options.log_errors = False
        try:
            compiled = re2.compile(self.source, options)
        except re2.error as error:
            reason = error.args[0].decode("latin-1") if error.args else "unknown reason"
            raise InvalidRequest(
                f"{what} {self.source[:80]!r} is not a regular expression that RE2 takes: {reason}; the syntax is that "
                f"of RE2, without look-ahead and back-references"
            ) from error
        self._full = compiled.fullmatch
        self._answers: dict[bytes, bool] = {}
        self.literal = _ESCAPED.sub(rb"\1", self.source) if _PLAIN.fullmatch(self.source) else None
        self.low = b""
        self.high: bytes | None = None
        if self.literal is not None:
            self.low, self.high = self.literal, self.literal + b"\0"
            return
        try:
            low, highest = compiled.possiblematchrange(_BOUND_BYTES)
        except re2.error:  # Anything can match.
            return
        self.low, self.high = low, highest + b"\0"

    def matches(self, text: bytes) -> bool:
        """Whether the expression matches the whole text."""
        return text == self.literal if self.literal is not None else self._full(text) is not None

    def matches_name(self, name: bytes) -> bool:
        """As `matches`, for texts that come again and again: answers are remembered."""
        answer = self._answers.get(name)
        if answer is None:
            answer = self.matches(name)
            if len(name) <= _KNOWN_BYTES:
                if len(self._answers) >= _KNOWN:
                    self._answers.clear()
                self._answers[name] = answer
        return answer
