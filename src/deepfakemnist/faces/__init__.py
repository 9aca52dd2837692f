"""Face detection, tracking, cropping, landmarks and identity embeddings."""
