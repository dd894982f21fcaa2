"""What is told of an error to whoever asked, over any protocol. Knows nothing of what the error is about."""

LONGEST = 1000
"""Bytes of UTF-8 that a sentence has at most. Clients over gRPC take 8 KiB of trailing metadata, where each of these bytes
may become three, and is there once more beside when to come again.
"""


def sentence(error: Exception) -> str:
    """The text of ``error``, cut to ``LONGEST`` bytes, never within a character; what is cut ends with three dots.

    Valid UTF-8 whatever the text: what stands for no character is "?".
    """
    told = str(error).encode(errors="replace")
    return told.decode() if len(told) <= LONGEST else told[: LONGEST - 3].decode(errors="ignore") + "..."
