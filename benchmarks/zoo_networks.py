"""The networks of the zoo, a line each: what `zoo.py` tries.

Long because it is a list. Sizes are those that the networks are commonly used with; of a family
the smaller members stand for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunekit.models.packages import shipped_file

HERE = Path(__file__).parent

Input = tuple[str, tuple[int, ...], str]


@dataclass(frozen=True)
class Network:
    """A network by name.

    Attributes:
        name: its own, for people and as the row's key.
        family: what it is for.
        source: as a recipe has it; `package:FILE` is a file that a package ships, by the package
            and the path in it.
        inputs: name, shape and dtype of each; none where a file says them.
        arguments: of what builds it.
        bound: inputs that are constants.
        values: smallest and largest value of inputs that do not take any.
    """

    name: str
    family: str
    source: str
    inputs: tuple[Input, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    bound: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def recipe(self) -> dict[str, Any]:
        """The recipe, as a mapping that `Recipe` validates."""
        inputs: list[dict[str, Any]] = [
            {"name": name, "shape": list(shape), "dtype": dtype}
            for name, shape, dtype in self.inputs
        ]
        for item in inputs:
            if item["name"] in self.values:
                low, high = self.values[item["name"]]
                item["values"] = {"min": low, "max": high}
        inputs += [{"name": name, "value": value} for name, value in self.bound.items()]
        model: dict[str, Any] = {"source": self.source, "inputs": inputs}
        if self.source.startswith("package:"):
            package, _, path = self.source.partition(":")[2].partition("/")
            model["source"] = str(shipped_file(package, path))
        elif self.arguments:
            model["arguments"] = dict(self.arguments)
        if self.source.startswith("python:"):
            model["folder"] = str(HERE)
        return {"name": self.name, "model": model}


def image(size: int = 224, name: str = "input", height: int | None = None) -> tuple[Input, ...]:
    return ((name, (1, 3, height or size, size), "float32"),)


def floats(**shapes: Sequence[int]) -> tuple[Input, ...]:
    return tuple((name, tuple(shape), "float32") for name, shape in shapes.items())


def ids(*names: str, length: int = 128) -> tuple[Input, ...]:
    return tuple((name, (1, length), "int64") for name in names)


def torchvision(name: str, family: str = "classification", size: int = 224) -> Network:
    return Network(name, family, f"torchvision:{name}", image(size))


def timm(name: str, size: int = 224, **more: Any) -> Network:
    source, arguments = "python:tunekit.models.packages:timm", {"name": name, **more}
    return Network(f"timm_{name}", "classification", source, image(size, "x"), arguments)


def yolo(name: str, size: int = 640) -> Network:
    source, arguments = "python:tunekit.models.packages:ultralytics", {"name": name}
    label, family = name.replace("-", "_"), "detection"
    if name.endswith(("-seg", "-cls")):
        family = "segmentation" if name.endswith("-seg") else "classification"
    return Network(label, family, source, image(size, "x"), arguments)


def body(name: str, size: int) -> Network:
    source, arguments = "python:zoo_models.detectors:detector_body", {"name": name}
    return Network(f"{name}_body", "detection", source, image(size, "images"), arguments)


def segmentation(architecture: str, encoder: str, size: int = 256) -> Network:
    arguments = {"architecture": architecture, "encoder": encoder, "classes": 21}
    source = "python:tunekit.models.packages:segmentation"
    return Network(f"{architecture}_{encoder}", "segmentation", source, image(size, "x"), arguments)


def video(name: str, frames: int = 16, size: int = 112) -> Network:
    inputs = floats(x=(1, 3, frames, size, size))
    return Network(name, "video", f"torchvision:{name}", inputs)


def flow(name: str, updates: int = 12) -> Network:
    inputs = floats(first=(1, 3, 128, 160), second=(1, 3, 128, 160))
    arguments = {"name": name, "updates": updates}
    return Network(name, "optical flow", "python:zoo_models.detectors:raft", inputs, arguments)


def hf(name: str, family: str, model: str, inputs: Sequence[Input], **config: Any) -> Network:
    """A model of transformers from its configuration; `part` of it where that is given."""
    source = "python:tunekit.models.packages:transformers"
    return Network(name, family, source, tuple(inputs), {"model": model, **config})


def sized(width: int, layers: int, heads: int) -> dict[str, int]:
    """The sizes of a transformer, by the names that most configurations have for them."""
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    return {**sizes, "intermediate_size": 4 * width}


def own(name: str, family: str, builder: str, inputs: Sequence[Input], **arguments: Any) -> Network:
    return Network(name, family, f"python:zoo_models.{builder}", tuple(inputs), arguments)


def shipped(name: str, family: str, file: str, *inputs: Input, **bound: Any) -> Network:
    return Network(name, family, f"package:{file}", inputs, bound=bound)


BERT = ids("input_ids", "attention_mask", "token_type_ids")
IDS = ids("input_ids", "attention_mask")
PREFILL = ids("input_ids", length=64)
PAIR = (*ids("input_ids"), *ids("decoder_input_ids", length=32))
PIXELS = image(224, "pixel_values")
SOUND = floats(input_values=(1, 16000))
# The tables of words are cut where a small model stands for a family.
LLAMA = {**sized(512, 6, 8), "num_key_value_heads": 4, "vocab_size": 32000, "use_cache": False}

CLASSIFICATION = [
    torchvision("alexnet"),
    torchvision("convnext_tiny"),
    torchvision("densenet121"),
    torchvision("efficientnet_b0"),
    torchvision("efficientnet_v2_s"),
    torchvision("googlenet"),
    torchvision("inception_v3", size=299),
    torchvision("maxvit_t"),
    torchvision("mnasnet1_0"),
    torchvision("mobilenet_v2"),
    torchvision("mobilenet_v3_large"),
    torchvision("mobilenet_v3_small"),
    torchvision("regnet_x_400mf"),
    torchvision("regnet_y_400mf"),
    torchvision("resnet18"),
    torchvision("resnet50"),
    torchvision("resnext50_32x4d"),
    torchvision("shufflenet_v2_x1_0"),
    torchvision("squeezenet1_1"),
    torchvision("swin_t"),
    torchvision("swin_v2_t", size=256),
    torchvision("vgg11_bn"),
    torchvision("vit_b_16"),
    timm("beit_base_patch16_224"),
    timm("botnet26t_256", 256),
    timm("convnextv2_atto"),
    timm("crossvit_tiny_240", 240),
    timm("deit_tiny_patch16_224"),
    timm("dla34"),
    timm("efficientformer_l1"),
    timm("efficientvit_b0"),
    timm("eva02_tiny_patch14_224"),
    timm("fastvit_t8", 256),
    timm("ghostnet_100"),
    timm("halonet26t", 256),
    timm("hgnetv2_b0"),
    timm("hrnet_w18_small"),
    timm("levit_128s"),
    timm("mambaout_femto"),
    # Heads that begin as zeros would give nothing to compare.
    timm("mixer_s16_224", num_classes=0),
    timm("mobilenetv4_conv_small"),
    timm("mobileone_s0"),
    timm("mobilevit_xxs", 256),
    timm("nfnet_l0"),
    timm("poolformer_s12"),
    timm("pvt_v2_b0"),
    timm("repvgg_a0"),
    timm("res2net50_26w_4s"),
    timm("resnest14d"),
    timm("sequencer2d_s", num_classes=0),
    timm("xcit_nano_12_p16_224"),
    yolo("yolov8n-cls", 224),
]

SEGMENTATION = [
    torchvision("deeplabv3_mobilenet_v3_large", "segmentation", 256),
    torchvision("deeplabv3_resnet50", "segmentation", 256),
    torchvision("fcn_resnet50", "segmentation", 256),
    torchvision("lraspp_mobilenet_v3_large", "segmentation", 256),
    segmentation("deeplabv3plus", "resnet18"),
    segmentation("fpn", "resnet18"),
    segmentation("linknet", "resnet18"),
    segmentation("manet", "resnet18"),
    segmentation("pan", "resnet18"),
    segmentation("pspnet", "resnet18"),
    segmentation("segformer", "mit_b0"),
    segmentation("unet", "mobilenet_v2"),
    segmentation("unet", "resnet34"),
    segmentation("unetplusplus", "resnet18"),
    segmentation("upernet", "resnet18"),
    own("unet_transposed", "segmentation", "images:UNet", image(256, "images")),
    hf(
        "segformer_b0",
        "segmentation",
        "SegformerForSemanticSegmentation",
        image(512, "pixel_values"),
    ),
    hf(
        "sam_encoder_small",
        "segmentation",
        "SamVisionModel",
        image(512, "pixel_values"),
        image_size=512,
        global_attn_indexes=[2, 5],
        mlp_dim=1536,
        **sized(384, 6, 6),
    ),
    hf("depth_anything_small", "depth", "DepthAnythingForDepthEstimation", PIXELS),
    yolo("yolov8n-seg"),
]

DETECTION = [
    yolo("yolov3-tiny", 416),
    yolo("yolov5n"),
    yolo("yolov8n"),
    yolo("yolov8n-pose"),
    yolo("yolov9t"),
    yolo("yolov10n"),
    yolo("yolo11n"),
    yolo("yolo12n"),
    yolo("rtdetr-l"),
    body("fcos_resnet50_fpn", 320),
    body("fasterrcnn_mobilenet_v3_large_320_fpn", 320),
    body("retinanet_resnet50_fpn", 320),
    body("ssd300_vgg16", 300),
    body("ssdlite320_mobilenet_v3_large", 320),
    own("detr_resnet50", "detection", "detectors:detr", image(480, "pixel_values", height=320)),
    hf(
        "yolos_tiny",
        "detection",
        "YolosForObjectDetection",
        image(256, "pixel_values"),
        image_size=[256, 256],
        **sized(192, 12, 3),
    ),
    shipped("nudenet_320n", "detection", "nudenet/320n.onnx", *image(320, "images")),
    shipped("ddddocr_detection", "detection", "ddddocr/common_det.onnx", *image(416, "images")),
]

VIDEO = [
    video("mc3_18"),
    video("mvit_v1_b", size=224),
    video("r2plus1d_18"),
    video("r3d_18"),
    video("s3d", size=224),
    video("swin3d_t"),
    hf(
        "videomae_small",
        "video",
        "VideoMAEModel",
        floats(pixel_values=(1, 16, 3, 112, 112)),
        image_size=112,
        **sized(384, 12, 6),
    ),
    flow("raft_small"),
    flow("raft_large"),
]

TEXT = [
    hf("albert_base", "text", "AlbertModel", BERT, **sized(768, 12, 12)),
    hf(
        "bart_base_encoder",
        "text",
        "BartModel",
        IDS,
        part="encoder",
        d_model=768,
        encoder_layers=6,
        encoder_ffn_dim=3072,
        decoder_layers=1,
    ),
    hf("bert_base", "text", "BertModel", BERT),
    hf("convbert_base", "text", "ConvBertModel", BERT),
    hf(
        "deberta_v3_small",
        "text",
        "DebertaV2Model",
        BERT,
        relative_attention=True,
        position_buckets=256,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        type_vocab_size=0,
        **sized(768, 6, 12),
    ),
    hf("distilbert", "text", "DistilBertModel", IDS),
    hf("electra_small", "text", "ElectraModel", BERT),
    hf("fnet_base", "text", "FNetModel", ids("input_ids", "token_type_ids")),
    hf("minilm_l6", "text", "BertModel", BERT, **sized(384, 6, 12)),
    hf("mobilebert", "text", "MobileBertModel", BERT),
    hf("modernbert_base", "text", "ModernBertModel", IDS),
    hf("mpnet_base", "text", "MPNetModel", IDS),
    hf("roberta_base", "text", "RobertaModel", IDS, max_position_embeddings=514),
    hf("roformer_base", "text", "RoFormerModel", BERT, num_hidden_layers=6),
    hf("squeezebert", "text", "SqueezeBertModel", BERT),
    hf("t5_small", "text", "T5Model", PAIR, use_cache=False),
    hf("t5_small_encoder", "text", "T5EncoderModel", IDS),
    hf("xlnet_base", "text", "XLNetModel", ids("input_ids"), d_model=768, n_layer=6, n_head=12),
    own(
        "torch_transformer",
        "text",
        "others:torch_transformer",
        floats(src=(1, 64, 256), tgt=(1, 64, 256)),
    ),
    hf(
        "bloom_small",
        "text",
        "BloomModel",
        PREFILL,
        hidden_size=512,
        n_layer=6,
        n_head=8,
        vocab_size=32000,
        use_cache=False,
    ),
    hf("gemma_small", "text", "GemmaModel", PREFILL, head_dim=64, **LLAMA),
    hf("gpt2", "text", "GPT2LMHeadModel", PREFILL, use_cache=False),
    hf(
        "gpt_neo_125m",
        "text",
        "GPTNeoModel",
        PREFILL,
        attention_types=[[["global", "local"], 6]],
        hidden_size=768,
        num_layers=12,
        num_heads=12,
        use_cache=False,
    ),
    hf("llama_small", "text", "LlamaForCausalLM", PREFILL, **LLAMA),
    hf(
        "mamba_small",
        "text",
        "MambaModel",
        ids("input_ids", length=32),
        hidden_size=256,
        num_hidden_layers=4,
        vocab_size=32000,
        use_cache=False,
    ),
    hf("opt_125m", "text", "OPTForCausalLM", PREFILL, use_cache=False),
    hf("phi_small", "text", "PhiModel", PREFILL, **LLAMA),
    hf("pythia_70m", "text", "GPTNeoXModel", PREFILL, use_cache=False, **sized(512, 6, 8)),
    hf("qwen3_small", "text", "Qwen3Model", PREFILL, **LLAMA),
]

VISION = [
    hf("clip_text", "vision and text", "CLIPTextModel", ids("input_ids", length=77)),
    hf("clip_vision_b32", "vision and text", "CLIPVisionModel", PIXELS),
    hf("dinov2_small", "vision", "Dinov2Model", PIXELS, image_size=224, **sized(384, 12, 6)),
    hf("siglip_vision_small", "vision and text", "SiglipVisionModel", PIXELS, **sized(384, 12, 6)),
    hf(
        "trocr_encoder_small",
        "text recognition",
        "DeiTModel",
        image(384, "pixel_values"),
        image_size=384,
        **sized(384, 12, 6),
    ),
    replace(
        hf(
            "layoutlm_small",
            "text recognition",
            "LayoutLMModel",
            (*BERT, ("bbox", (1, 128, 4), "int64")),
            **sized(384, 6, 12),
        ),
        # Corners of boxes, of which the second must not be above or left of the first.
        values={"bbox": (500, 500)},
    ),
]

AUDIO = [
    hf("ast_base", "audio", "ASTModel", floats(input_values=(1, 256, 128)), max_length=256),
    hf("hubert_base", "audio", "HubertModel", SOUND),
    hf("wav2vec2_base", "audio", "Wav2Vec2Model", SOUND),
    hf("wav2vec2_conformer_small", "audio", "Wav2Vec2ConformerModel", SOUND, **sized(256, 6, 4)),
    hf("wavlm_small", "audio", "WavLMModel", SOUND, **sized(384, 6, 6)),
    hf(
        "whisper_tiny_encoder",
        "audio",
        "WhisperModel",
        floats(input_features=(1, 80, 3000)),
        part="encoder",
        d_model=384,
        encoder_layers=4,
        encoder_attention_heads=6,
        encoder_ffn_dim=1536,
        decoder_layers=1,
    ),
    hf(
        "whisper_tiny_decoder",
        "audio",
        "WhisperModel",
        (*ids("input_ids", length=32), *floats(encoder_hidden_states=(1, 1500, 384))),
        part="decoder",
        d_model=384,
        encoder_layers=1,
        decoder_layers=4,
        decoder_attention_heads=6,
        decoder_ffn_dim=1536,
        use_cache=False,
    ),
    hf(
        "speech_to_text_encoder",
        "audio",
        "Speech2TextModel",
        floats(input_features=(1, 400, 80)),
        part="encoder",
        d_model=256,
        encoder_layers=6,
    ),
    hf(
        "encodec_encoder",
        "audio",
        "EncodecModel",
        floats(hidden_states=(1, 1, 24000)),
        part="encoder",
    ),
    hf("hifigan", "audio", "SpeechT5HifiGan", floats(spectrogram=(1, 100, 80))),
    own("conv_tasnet", "audio", "others:ConvTasNet", floats(sound=(1, 1, 16000))),
    own("keyword_spotter", "audio", "others:KeywordSpotter", floats(cepstra=(1, 1, 49, 10))),
    shipped(
        "silero_vad",
        "audio",
        "silero_vad/data/silero_vad.onnx",
        *floats(input=(1, 576), state=(2, 1, 128)),
        sr=16000,
    ),
    shipped(
        "silero_vad_16k",
        "audio",
        "silero_vad/data/silero_vad_16k_op15.onnx",
        *floats(input=(1, 576), state=(2, 1, 128)),
        sr=16000,
    ),
    shipped(
        "silero_vad_ifless",
        "audio",
        "silero_vad/data/silero_vad_op18_ifless.onnx",
        *floats(input=(1, 576), state=(2, 1, 128)),
        sr=16000,
    ),
    shipped(
        "basic_pitch",
        "audio",
        "basic_pitch/saved_models/icassp_2022/nmp.onnx",
        ("serving_default_input_2:0", (1, 43844, 1), "float32"),
    ),
]

RECURRENT = [
    own("bilstm_tagger", "recurrent", "recurrent:Tagger", ids("tokens", length=64)),
    own("bigru_tagger", "recurrent", "recurrent:Tagger", ids("tokens", length=64), cell="GRU"),
    own("lstm_language_model", "recurrent", "recurrent:LanguageModel", ids("tokens")),
    own("gru_classifier", "recurrent", "recurrent:SequenceClassifier", floats(series=(1, 500, 12))),
    own("deep_speech", "recurrent", "recurrent:DeepSpeech", floats(spectra=(1, 1, 161, 200))),
    own(
        "gru_translator",
        "recurrent",
        "recurrent:Translator",
        (*ids("source", length=30), *ids("target", length=30)),
    ),
    own("crnn", "text recognition", "recurrent:Crnn", floats(images=(1, 1, 32, 128))),
]

OCR = [
    shipped(
        "ppocr_v4_detection",
        "text recognition",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        *floats(x=(1, 3, 480, 640)),
    ),
    shipped(
        "ppocr_v4_recognition",
        "text recognition",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        *floats(x=(1, 3, 48, 320)),
    ),
    shipped(
        "ppocr_v2_direction",
        "text recognition",
        "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        *floats(x=(1, 3, 48, 192)),
    ),
    shipped(
        "ppocr_v6_detection",
        "text recognition",
        "rapidocr/models/PP-OCRv6_det_small.onnx",
        *floats(x=(1, 3, 480, 640)),
    ),
    shipped(
        "ppocr_v6_recognition",
        "text recognition",
        "rapidocr/models/PP-OCRv6_rec_small.onnx",
        *floats(x=(1, 3, 48, 320)),
    ),
    shipped(
        "ddddocr_common", "text recognition", "ddddocr/common.onnx", *floats(input1=(1, 1, 64, 160))
    ),
    shipped(
        "ddddocr_old",
        "text recognition",
        "ddddocr/common_old.onnx",
        *floats(input1=(1, 1, 64, 160)),
    ),
]

IMAGES = [
    own("espcn", "super-resolution", "images:espcn", floats(input=(1, 1, 224, 224))),
    own("fsrcnn", "super-resolution", "images:fsrcnn", floats(input=(1, 1, 224, 224))),
    own("edsr_small", "super-resolution", "images:edsr", image(96)),
    own("srgan", "super-resolution", "images:srresnet", image(96)),
    own("esrgan_small", "super-resolution", "images:Esrgan", image(64, "images")),
    hf(
        "swin2sr_small",
        "super-resolution",
        "Swin2SRForImageSuperResolution",
        image(64, "pixel_values"),
        embed_dim=60,
        depths=[2, 2, 2, 2],
        num_heads=[6, 6, 6, 6],
        upsampler="pixelshuffledirect",
    ),
    own("dncnn", "image to image", "images:dncnn", floats(input=(1, 1, 180, 180))),
    own("style_transfer", "image to image", "images:style_transfer", image(224)),
    own("dcgan", "image to image", "images:dcgan", floats(input=(1, 100, 1, 1))),
]

OTHERS = [
    own(
        "dlrm",
        "other",
        "others:Recommender",
        (*floats(numbers=(1, 13)), ("categories", (1, 26), "int64")),
    ),
    own("nbeats", "other", "others:NBeats", floats(window=(1, 96))),
    own("pointnet", "other", "others:PointNet", floats(points=(1, 3, 1024))),
    own("tcn", "other", "others:TemporalConvolutions", floats(series=(1, 12, 500))),
    hf(
        "patchtst",
        "other",
        "PatchTSTModel",
        floats(past_values=(1, 512, 7)),
        num_input_channels=7,
        context_length=512,
        patch_length=16,
        patch_stride=8,
    ),
    shipped(
        "magika", "other", "magika/models/standard_v3_3/model.onnx", ("bytes", (1, 2048), "int32")
    ),
]

ALL = [
    *(*CLASSIFICATION, *SEGMENTATION, *DETECTION, *VIDEO, *TEXT, *VISION),
    *(*AUDIO, *RECURRENT, *OCR, *IMAGES, *OTHERS),
]
NETWORKS = {network.name: network for network in ALL}
