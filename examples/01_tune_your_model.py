"""A PyTorch model of your own: exported, tuned, verified, run.

    python examples/01_tune_your_model.py

Takes a few minutes. The library ends up in artifacts/examples/my_model/.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import tunekit


def build() -> torch.nn.Module:
    """Three convolutions and a classifier, in place of your model."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU()),
        *(torch.nn.Conv2d(16, 32, 3, stride=2, padding=1), torch.nn.ReLU()),
        *(torch.nn.Conv2d(32, 32, 3, padding=1), torch.nn.ReLU()),
        *(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(32, 10)),
    ).eval()


def main(folder: Path = Path("artifacts/examples"), trials: int = 48, size: int = 64) -> None:
    """Tunes the model into `folder` and compares the library's output with PyTorch's."""
    model, image = build(), torch.randn(1, 3, size, size)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "my_model.pt2"
    torch.export.save(torch.export.export(model, (image,)), file)

    library = tunekit.tune(file, trials=trials, output=folder, catalogue=folder / "catalogue.db")

    output = library.run(image.numpy())
    expected = model(image).detach().numpy()
    error = np.abs(output - expected).max() / np.abs(expected).max()
    print(f"library: {library.folder}")
    print(f"coverage: {library.manifest.coverage:.0%} of the estimated latency has a record")
    print(f"largest error against PyTorch: {error:.1e} of the largest output")
    assert error < 1e-3


if __name__ == "__main__":
    main()
