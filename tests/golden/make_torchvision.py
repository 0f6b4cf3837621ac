"""Makes torchvision.json: ``python -m tests.golden.make_torchvision``.

Names and shapes of torchvision's state dictionaries, and its logits of drawn weights. Made with
Python 3.11, torch 2.14.1, torchvision 0.29.1.
"""

import json

from tests.golden.torchvision_cases import PATH, image, weights

NAMES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "mobilenet_v2",
    "alexnet",
    "vit_b_16",
    "convnext_tiny",
)


def compute(name: str) -> dict:
    """Returns the shapes of a network's weights, and its first eight logits of two images."""
    import torch
    import torchvision

    model = getattr(torchvision.models, name)(weights=None).eval()
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    state = {key: torch.from_numpy(weights(key, shape)) for key, shape in shapes.items()}
    model.load_state_dict(state)
    with torch.no_grad():
        logits = model(torch.from_numpy(image(name)).permute(0, 3, 1, 2))
    return {"shapes": shapes, "logits": [[round(v, 6) for v in row[:8].tolist()] for row in logits]}


if __name__ == "__main__":
    PATH.write_text(json.dumps({name: compute(name) for name in NAMES}, indent=0) + "\n")
