"""Fine-tuning: an encoder becomes a segmentation model."""
