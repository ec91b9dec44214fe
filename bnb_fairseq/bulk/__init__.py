"""Translating many lines of text: read as a stream, translated window by window, written in order."""
