"""The paper's variational auto-encoders: of images, and of 16-bit audio."""
