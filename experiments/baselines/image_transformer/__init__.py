"""The Image Transformer in other frameworks, and a PixelCNN."""
