"""Make foreign text safe to show: without mark-up, control characters, and anything like a token."""

from __future__ import annotations

import functools
import html
import re
import string
from typing import Final

from ..secret import mask_numbers_in

_MAX_SHOWN: Final = 300
_CODE: Final = re.compile(r"<(script|style|head)\b.*?(</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
# Bounded, so that a page of unclosed tags cannot block the loop.
_TITLE: Final = re.compile(r"<title[^<>]*>([^<]*)</title", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^<>]*>")
_BLANK: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+")
# A gateway's error page may quote the request with its Authorization header.
_SECRETS: Final = re.compile(r"(?i:bearer)[\s:=]+[^\s\"'<>]+|[A-Za-z0-9_-]{40,}")
_TOKEN_ALPHABET: Final = f"{string.ascii_letters}{string.digits}_-"
_MIN_SECRET: Final = 8


def readable(text: str) -> str:
    """Reduce foreign text to one line of limited length, without mark-up and without anything like a token."""
    title = _TITLE.search(text)
    shown = _unescape(_TAG.sub(" ", _CODE.sub(" ", text)))
    if title is not None:
        shown = f"{_unescape(title[1])} {shown}"
    line = mask_numbers_in(_SECRETS.sub("***", _BLANK.sub(" ", shown)).strip())
    return line if len(line) <= _MAX_SHOWN else line[:_MAX_SHOWN] + "…"


def _unescape(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError:  # a character reference of more digits than Python converts
        return text


def plain(value: object, most: int = _MAX_SHOWN) -> str:
    """Return text in one line of at most `most` characters, with unprintable characters escaped."""
    text = str(value)
    if len(text) > most:
        text = text[: most - 1] + "…"
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def cut_words(text: str, most: int) -> str:
    """Shorten a text at a word boundary, since a part of a token is not recognised as a secret.

    Args:
        text: any text.
        most: characters to keep at most.
    """
    return text if len(text) <= most else text[:most].rstrip(_TOKEN_ALPHABET)


def mask_token(body: bytes, authorization: str) -> bytes:
    """Mask the token of the request in an answer, plain or escaped for HTML, JSON or a URL.

    Args:
        body: body of the response.
        authorization: the header that was sent; ``""`` for no header.
    """
    token, run = _token_in(authorization)
    if not token or run not in body:
        return body
    return re.sub("".join(map(_escaped, token)).encode(), b"***", body)


@functools.lru_cache(maxsize=4)
def _token_in(authorization: str) -> tuple[str, bytes]:
    """Return the token in a header, if long enough for a secret, and its longest part that no escaping changes."""
    token = authorization.rpartition(" ")[2]
    if len(token) < _MIN_SECRET:
        return "", b""
    return token, max(re.findall(r"[A-Za-z0-9]+", token), key=len, default="").encode()


def _escaped(character: str) -> str:
    if character.isalnum():
        return character
    code = ord(character)
    return rf"(?:\\?{re.escape(character)}|&#0*{code};|(?i:&#x0*{code:x};|\\u{code:04x}|%{code:02x}))"
