"""Copy generators: requests in, reviewed texts out."""

from models.generator.bundle import GeneratorBundle
from models.generator.request import CopyRequest

__all__ = ["CopyRequest", "GeneratorBundle"]
