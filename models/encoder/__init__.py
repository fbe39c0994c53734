"""The text encoder: any BERT, an embedded default, raw vectors cached by content."""

from models.encoder.text_encoder import EncoderSettings, TextEncoder

__all__ = ["EncoderSettings", "TextEncoder"]
