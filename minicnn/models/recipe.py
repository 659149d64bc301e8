"""How a paper trained its network, as data that stands beside the model."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Recipe:
    """One paper's training recipe. `minicnn train MODEL --recipe paper` interprets it (minicnn.training.recipes)."""

    source: str                     # "He et al. 2016, section 4.2"
    batch_size: int
    epochs: int
    lr: float
    weight_decay: float
    momentum: float = 0.9
    nesterov: bool = False
    schedule: str = "constant"      # "constant", "step", "multistep", "plateau", "cosine", "linear" (down to 0)
    schedule_args: dict = field(default_factory=dict)   # in epochs: {"milestones": [82, 123], "factor": 0.1}
    warmup: dict = field(default_factory=dict)          # {"steps": 400, "start": 0.1} in iterations
    # In order: ("scale_jitter", 256, 512), ("random_resized_crop", 224), ("resize", 256), ("random_crop", 224),
    # ("pad_crop", 4), ("flip",), ("color_pca", 0.1), ("photometric",), ("normalize",), ("gcn",), ("zca",)
    augmentation: tuple = ()
    label_smoothing: float = 0.0
    auxiliary_weight: float = 0.0   # weight of each auxiliary classifier's loss
    initial: str = "He et al. 2015" # how the model's weights start (the model does it)
    dropout: str = "none"           # where and how much (the model does it)
    validation: str = ""            # what the learning rate or the choice of epoch watches
    notes: str = ""                 # what the paper did that the fields do not say, or a second source's value
