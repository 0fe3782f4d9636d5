"""On which line of a TOML text each setting stands. Pure; called by file.py for its error messages.

The standard library's parser gives no positions, and rendering a document back and counting lines goes wrong for tables that are
written out of order. So this is a scanner of its own. It expects text that ``tomllib`` has already accepted: it only finds where
things begin and end, and never judges them. It imports nothing of the project.
"""

from __future__ import annotations

from collections.abc import Mapping

SettingPath = tuple[str | int, ...]

_BLANK = " \t\r\n"
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b", '"': '"', "\\": "\\"}


def setting_lines(text: str) -> dict[SettingPath, int]:
    """Path -> line (from 1) of every table, key and array element of ``text``, which must be valid TOML."""
    return _Scanner(text).run()


def line_of(lines: Mapping[SettingPath, int], path: SettingPath) -> int | None:
    """The line of ``path``, else of the nearest thing around it that is written down, else None."""
    for end in range(len(path), 0, -1):
        if (line := lines.get(path[:end])) is not None:
            return line
    return None


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[SettingPath, int] = {}
        self._line = 1
        self._line_counted_to = 0
        self._tables_seen: dict[SettingPath, int] = {}

    def run(self) -> dict[SettingPath, int]:
        prefix: SettingPath = ()
        while self._skip_blank():
            if self.text.startswith("[[", self.at):
                prefix = self._header(2)
            elif self.text[self.at] == "[":
                prefix = self._header(1)
            else:
                self._pair(prefix)
        return self.lines

    def _note(self, path: SettingPath) -> None:
        """The first mention of a path counts."""
        if path not in self.lines:
            self._line += self.text.count("\n", self._line_counted_to, self.at)
            self._line_counted_to = self.at
            self.lines[path] = self._line

    def _header(self, brackets: int) -> SettingPath:
        self.at += brackets
        keys = self._keys("]")
        path: SettingPath = ()
        for depth, key in enumerate(keys):
            path += (key,)
            if brackets == 2 and depth == len(keys) - 1:
                self._tables_seen[path] = self._tables_seen.get(path, 0) + 1
            self._note(path)
            if seen := self._tables_seen.get(path):
                path += (seen - 1,)
                self._note(path)
        self.at += brackets
        return path

    def _pair(self, prefix: SettingPath) -> None:
        path = prefix
        start = self.at
        keys = self._keys("=")
        end, self.at = self.at, start
        for key in keys:
            path += (key,)
            self._note(path)
        self.at = end + 1
        self._value(path)

    def _keys(self, until: str) -> list[str]:
        """A dotted key up to ``until``, which is not consumed."""
        keys: list[str] = []
        while (char := self.text[self.at]) != until:
            if char in " \t.":
                self.at += 1
            elif char in "\"'":
                keys.append(self._string())
            else:
                start = self.at
                while self.text[self.at] not in " \t.=]":
                    self.at += 1
                keys.append(self.text[start : self.at])
        return keys

    def _value(self, path: SettingPath) -> None:
        self._skip_blank()
        char = self.text[self.at]
        if char == "[":
            self._array(path)
        elif char == "{":
            self._inline_table(path)
        elif char in "\"'":
            self._string()
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]}#\n":
                self.at += 1

    def _array(self, path: SettingPath) -> None:
        self.at += 1
        index = 0
        while self._skip_blank() and self.text[self.at] != "]":
            if self.text[self.at] == ",":
                self.at += 1
                continue
            self._note((*path, index))
            self._value((*path, index))
            index += 1
        self.at += 1

    def _inline_table(self, path: SettingPath) -> None:
        self.at += 1
        while self._skip_blank() and self.text[self.at] != "}":
            if self.text[self.at] == ",":
                self.at += 1
            else:
                self._pair(path)
        self.at += 1

    def _string(self) -> str:
        """Consume a string of any of the four kinds; returns what a key of that spelling is called."""
        quote = self.text[self.at]
        long = self.text.startswith(quote * 3, self.at)
        end = quote * 3 if long else quote
        self.at += len(end)
        out: list[str] = []
        while not self.text.startswith(end, self.at):
            if quote == '"' and self.text[self.at] == "\\":
                out.append(self._escape())
            else:
                out.append(self.text[self.at])
                self.at += 1
        self.at += len(end)
        while long and self.at < len(self.text) and self.text[self.at] == quote:
            self.at += 1  # a long string may end in one or two quotes of its own
        return "".join(out)

    def _escape(self) -> str:
        kind = self.text[self.at + 1]
        digits = {"u": 4, "U": 8}.get(kind, 0)
        self.at += 2 + digits
        if digits:
            return chr(int(self.text[self.at - digits : self.at], 16))
        return _ESCAPES.get(kind, kind)

    def _skip_blank(self) -> bool:
        """Past blanks, line ends and comments. False at the end of the text."""
        while self.at < len(self.text):
            if self.text[self.at] == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif self.text[self.at] in _BLANK:
                self.at += 1
            else:
                return True
        return False
