"""DeepFakeMnist+: make and judge facial-animation deepfake datasets."""

__version__ = "0.2.0"
