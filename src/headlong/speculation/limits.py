"""The longest draft, under the name that the speculation code uses.

It is defined beside the request parameters it bounds, since sampling is imported by drafters and
can import nothing from here.
"""

from headlong.sampling.params import MAX_DRAFT

__all__ = ["MAX_DRAFT"]
