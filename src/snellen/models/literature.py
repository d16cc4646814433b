"""Classifiers of the literature under the names that tables give them, and what carries them here."""

CARRIED: dict[str, str] = {
    "LeNet-5": "lenet",
    "AlexNet": "alexnet",
    "VGG-11": "vgg11", "VGG-13": "vgg13", "VGG-16": "vgg16", "VGG-19": "vgg19",
    "VGG-11_BN": "vgg11_bn", "VGG-13_BN": "vgg13_bn", "VGG-16_BN": "vgg16_bn", "VGG-19_BN": "vgg19_bn",
    "GoogLeNet (Inception v1)": "googlenet",
    "Inception v3": "inception_v3", "Inception v4": "inception_v4", "Inception-ResNet-v2": "inception_resnet_v2",
    "Xception": "legacy_xception",
    "ResNet-18": "resnet18", "ResNet-34": "resnet34", "ResNet-50": "resnet50", "ResNet-101": "resnet101",
    "ResNet-152": "resnet152", "ResNet-200": "resnet200", "ResNet v2 (pre-activation)": "resnetv2_50",
    "ResNeXt-50 32x4d": "resnext50_32x4d", "ResNeXt-101 32x4d": "resnext101_32x4d",
    "ResNeXt-101 64x4d": "resnext101_64x4d",
    "SENet-154": "legacy_senet154", "SE-ResNet-50": "legacy_seresnet50", "SE-ResNet-101": "legacy_seresnet101",
    "SE-ResNet-152": "legacy_seresnet152", "SE-ResNeXt-50 32x4d": "legacy_seresnext50_32x4d",
    "SE-ResNeXt-101 32x4d": "legacy_seresnext101_32x4d",
    "DenseNet-121": "densenet121", "DenseNet-161": "densenet161", "DenseNet-169": "densenet169",
    "DenseNet-201": "densenet201",
    "DualPathNet-68": "dpn68", "DualPathNet-68b": "dpn68b", "DualPathNet-92": "dpn92", "DualPathNet-98": "dpn98",
    "DualPathNet-107": "dpn107", "DualPathNet-131": "dpn131",
    "NASNet-A-Large": "nasnetalarge", "PNASNet-5-Large": "pnasnet5large",
    "MobileNet v1": "mobilenetv1_100", "MobileNet v2": "mobilenetv2_100", "MobileNet v3": "mobilenetv3_large_100",
    "ShuffleNet v2": "shufflenet_v2_x1_0",
    "SqueezeNet 1.0": "squeezenet1_0", "SqueezeNet 1.1": "squeezenet1_1",
    "Darknet-53": "darknet53",
}  # fmt: skip
"""Name in tables -> name that `create` takes. The DenseNets are of the kind -BC: bottlenecks and compression."""

ABSENT: dict[str, str] = {
    "PolyNet": "inception_resnet_v2",
    "NASNet-A-Mobile": "nasnetalarge",
    "BN-Inception": "inception_v3",
    "Inception v2": "inception_v3",
    "FBResNet-152": "resnet152",
    "CaffeResNet-101": "resnet101",
    "NIN (Network in Network)": "squeezenet1_0",
    "ShuffleNet v1": "shufflenet_v2_x1_0",
    "DeepFace": "resnet18",
    "Deep Neural Decision Forest": "resnet18",
    "Factorized Bilinear Network": "resnet50",
}
"""Named in tables, and carried neither by timm nor by torchvision -> the nearest relative that is."""
