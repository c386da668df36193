"""Detectors: models that find objects, whose boxes depend on what is in the picture.

A detector becomes a module of fixed shapes: its own layers, and operators of tunekit's for what
depends on data, padded to the most that there can be, and a count. Importing this loads no torch.

- `family` what each kind of detector has to offer
- `recognition` which modules are detectors, and which of them can be compiled
- `rcnn`, `dense`, `yolo` what the families are
- `picture` boxes in the pixels of the picture that is on the canvas
- `stages` the parts by which the time of one is compared
- `eager` how long those take where PyTorch runs it
- `original` what a detector is compared with
- `scenes` pictures in which there is something to find
- `random_weights` what makes a detector find something before it is trained
- `matching` whether two runs found the same
- `operators` what depends on data, as operators of fixed shapes
"""
