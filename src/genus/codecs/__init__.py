"""Raw media <-> x: bytes, characters, byte pairs, pixels."""
