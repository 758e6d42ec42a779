"""Architectures, one file each, written in the operations of `headlong.ops`."""
