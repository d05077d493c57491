"""Loading of weights: official checkpoints, timm backbones, files and folders of trials."""
