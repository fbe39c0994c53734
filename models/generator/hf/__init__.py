"""Copy from any causal language model of transformers, tuned by LoRA: the optional generator ``hf`` (`pip install -e ".[hf]"`)."""

from models.generator.hf.generator import HfGenerator

__all__ = ["HfGenerator"]
