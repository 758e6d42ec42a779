"""Models from the Hugging Face hub: `hf:user/repo:QUANT` becomes a file on this machine."""

from headlong.tools.hub.download import fetch
from headlong.tools.hub.reference import PREFIX, Reference
from headlong.tools.hub.repository import Hub

__all__ = ["PREFIX", "Hub", "Reference", "fetch"]
